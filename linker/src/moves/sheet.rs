//! The recovery sheet that every move ends with: the way to the other side with Kafka's own tools alone, when
//! Towpath and its store are gone. Each command stands there whole.

use std::time::Duration;

use towpath_plans::transition::{FinalPosition, Verb};
use towpath_wire::client::{ClientConfig, Mechanism};

use super::mover::Mover;
use crate::cluster::Cluster;

/// What the tools read the positions from.
const POSITIONS: &str = "positions.csv";
/// Kafka's own default of a consumer's session.
const SESSION: Duration = Duration::from_secs(45);

impl Mover {
    /// The sheet of a move that has ended well.
    pub(super) fn recovery_sheet(&self, verb: Verb, finals: &[FinalPosition]) -> String {
        let (here, there) = match verb {
            Verb::Cutover => (&self.link.target, &self.link.source),
            Verb::Rollback => (&self.link.source, &self.link.target),
        };
        Sheet {
            group: &self.group.name,
            verb,
            here: Place::of(here),
            there: Place::of(there),
            finals,
            session: self.fence.session(),
            sync: Duration::from_millis(self.link.plan.link.sync_interval_ms),
        }
        .text()
    }
}

/// What a sheet is about.
struct Sheet<'a> {
    group: &'a str,
    verb: Verb,
    /// Where the group runs.
    here: Place<'a>,
    /// Where it is to run.
    there: Place<'a>,
    finals: &'a [FinalPosition],
    /// How long the fence at the source outlives the service.
    session: Duration,
    /// Between two commits of the fence member.
    sync: Duration,
}

/// A cluster, as Kafka's tools reach it.
struct Place<'a> {
    name: &'a str,
    id: &'a str,
    config: &'a ClientConfig,
}

impl Sheet<'_> {
    fn text(&self) -> String {
        let Sheet { group, verb, here, there, .. } = self;
        let mut text = format!(
            "Group {group} runs on {} (cluster {}) since {verb}.\n\
             To run it on {} (cluster {}) without Towpath, with Kafka's own tools:\n",
            here.name, here.id, there.name, there.id
        );
        for place in [here, there] {
            if let Some(properties) = place.properties() {
                let file = place.file();
                text.push_str(&format!(
                    "\nHow the tools log in at {}; put its secrets in:\ncat > {file} <<'END'\n{properties}END\n",
                    place.name
                ));
            }
        }
        text.push_str(&format!(
            "\n1. Stop its consumers on {}. None is to be left:\n{}",
            here.name,
            here.groups(group, &["--describe --members"])
        ));
        match verb {
            Verb::Cutover => self.to_source(&mut text),
            Verb::Rollback => self.to_target(&mut text),
        }
        text
    }

    fn to_source(&self, text: &mut String) {
        let Sheet { group, there, .. } = self;
        // A source that allows the fence no more allows nobody more.
        let session = self.session.min(SESSION);
        let topic = self.finals.first().map_or("TOPIC", |at| at.topic.as_str());
        text.push_str(&format!(
            "\n2. Stop the linking service, if it runs. Its fence ends with its session, at most {} min later.\n   \
             Then this joins the group, commits nothing, and ends by itself:\n{}   \
             Repeat it until the group is listed as a consumer group:\n{}",
            self.session.as_secs().div_ceil(60),
            there.tool(
                "kafka-console-consumer.sh",
                "--consumer.config",
                &[
                    &format!("--topic {} --group {}", quoted(topic), quoted(group)),
                    &format!("--consumer-property session.timeout.ms={}", session.as_millis()),
                    "--consumer-property enable.auto.commit=false --max-messages 1 --timeout-ms 20000",
                ],
            ),
            there.groups(group, &["--describe --state"]),
        ));
        text.push_str(&format!(
            "\n3. See where it stands: where the fence member committed last, up to {} s behind its consumers.\n{}",
            self.sync.as_secs().max(1),
            there.groups(group, &["--describe --offsets"])
        ));
        text.push_str(
            "\n4. Leave this out, unless the group is to begin again where this cutover took it over:\n",
        );
        self.set_positions(group, text);
        text.push_str(&format!(
            "\n5. Start its consumers with bootstrap.servers={} and group.id={group}.\n",
            there.bootstrap()
        ));
    }

    /// The target's broker holds the group for its link, and nothing but the link lets it go: another group takes
    /// its place.
    fn to_target(&self, text: &mut String) {
        let (there, group) = (&self.there, format!("{}-recovered", self.group));
        text.push_str(&format!(
            "\n2. {} holds group {} for its link: group {group} takes its place, at the positions of this\n   \
             rollback. Records that were written to {} later may be missing on {}.\n",
            there.name, self.group, self.here.name, there.name
        ));
        self.set_positions(&group, text);
        text.push_str(&format!(
            "\n3. Start its consumers with bootstrap.servers={} and group.id={group}.\n",
            there.bootstrap()
        ));
    }

    fn set_positions(&self, group: &str, text: &mut String) {
        text.push_str(&format!("cat > {POSITIONS} <<'END'\n"));
        for at in self.finals {
            let offset = match self.verb {
                Verb::Cutover => at.source_offset,
                Verb::Rollback => at.target_offset,
            };
            text.push_str(&format!("{},{},{offset}\n", at.topic, at.partition));
        }
        text.push_str("END\n");
        let reset = format!("--reset-offsets --from-file {POSITIONS} --execute");
        text.push_str(&self.there.groups(group, &[&reset]));
    }
}

impl<'a> Place<'a> {
    fn of(cluster: &'a Cluster) -> Place<'a> {
        Place { name: &cluster.name, id: &cluster.id, config: &cluster.config }
    }

    fn bootstrap(&self) -> String {
        self.config.bootstrap.join(",")
    }

    /// Where the tools read how to log in.
    fn file(&self) -> String {
        format!("{}.properties", self.name)
    }

    fn groups(&self, group: &str, arguments: &[&str]) -> String {
        let group = format!("--group {}", quoted(group));
        let all = [&[group.as_str()], arguments].concat();
        self.tool("kafka-consumer-groups.sh", "--command-config", &all)
    }

    /// A command, on as many lines as it has parts.
    fn tool(&self, tool: &str, login: &str, arguments: &[&str]) -> String {
        let mut command = format!("   {tool} --bootstrap-server {}", quoted(&self.bootstrap()));
        if self.properties().is_some() {
            command.push_str(&format!(" \\\n     {login} {}", quoted(&self.file())));
        }
        for argument in arguments {
            command.push_str(&format!(" \\\n     {argument}"));
        }
        command + "\n"
    }

    /// How Kafka's tools log in; `None` where there is nothing to say. Secrets are left open.
    fn properties(&self) -> Option<String> {
        let security = &self.config.security;
        if security.sasl.is_none() && !security.protocol.is_tls() {
            return None;
        }
        let mut lines = vec![format!("security.protocol={}", security.protocol)];
        if let Some(sasl) = &security.sasl {
            let (mechanism, module) = match sasl.mechanism {
                Mechanism::Plain => ("PLAIN", "plain.PlainLoginModule"),
                Mechanism::ScramSha256 => ("SCRAM-SHA-256", "scram.ScramLoginModule"),
                Mechanism::ScramSha512 => ("SCRAM-SHA-512", "scram.ScramLoginModule"),
            };
            lines.push(format!("sasl.mechanism={mechanism}"));
            lines.push(format!(
                "sasl.jaas.config=org.apache.kafka.common.security.{module} required username=\"{}\" password=\"...\";",
                sasl.username
            ));
        }
        let tls = security.tls.iter();
        for (what, file) in tls.flat_map(|tls| [("truststore", &tls.ca), ("keystore", &tls.cert)]) {
            if let Some(file) = file {
                lines.push(format!("ssl.{what}.type=PEM"));
                lines.push(format!("ssl.{what}.location={}", file.display()));
            }
        }
        if let Some(key) = security.tls.iter().find_map(|tls| tls.key.as_ref()) {
            lines.push(format!("# that file must hold the key too: {}", key.display()));
        }
        Some(lines.join("\n") + "\n")
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use towpath_plans::transition::Origin;
    use towpath_wire::client::{Protocol, Sasl, Secret, Security};

    use super::*;

    fn text(verb: Verb, group: &str) -> String {
        let sasl = Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "towpath".into(),
            password: Secret::Env("do not tell".into()),
        };
        let security = Security { protocol: Protocol::SaslPlaintext, sasl: Some(sasl), tls: None };
        let (legacy, towpath) = (ClientConfig::new("k1:9092", security), ClientConfig::plaintext("t1:9092"));
        let source = Place { name: "legacy", id: "L", config: &legacy };
        let target = Place { name: "towpath", id: "T", config: &towpath };
        let (here, there) = match verb {
            Verb::Cutover => (target, source),
            Verb::Rollback => (source, target),
        };
        let finals = [FinalPosition {
            topic: "views".into(),
            partition: 2,
            source_offset: 7,
            target_offset: 9,
            origin: Origin::Committed,
            metadata: None,
        }];
        let (session, sync) = (Duration::from_secs(1_800), Duration::from_secs(5));
        Sheet { group, verb, here, there, finals: &finals, session, sync }.text()
    }

    #[test]
    fn every_command_stands_on_the_sheet_whole_and_no_secret_does() {
        let cutover = text(Verb::Cutover, "night ranker's");
        for part in [
            "sasl.mechanism=SCRAM-SHA-512",
            "--bootstrap-server k1:9092 \\\n     --command-config legacy.properties",
            "kafka-console-consumer.sh --bootstrap-server k1:9092 \\\n     --consumer.config legacy.properties",
            r"--group 'night ranker'\''s'",
            "at most 30 min later",
            "<<'END'\nviews,2,7\nEND\n",
            "--reset-offsets --from-file positions.csv --execute",
        ] {
            assert!(cutover.contains(part), "{part}:\n{cutover}");
        }
        assert!(!cutover.contains("do not tell") && !cutover.contains("towpath serve"), "{cutover}");
        let back = text(Verb::Rollback, "ranker");
        assert!(back.contains("views,2,9\n") && back.contains("--group ranker-recovered"), "{back}");
        assert!(!back.contains("towpath serve"), "{back}");
    }
}
