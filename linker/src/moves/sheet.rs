//! The recovery sheet that every move ends with.

use towpath_plans::transition::{FinalPosition, Verb};

use super::mover::Mover;

impl Mover {
    /// What to do with Kafka's own tools alone, when Towpath and its store are gone.
    pub(super) fn recovery_sheet(&self, verb: Verb, finals: &[FinalPosition]) -> String {
        let group = &self.group.name;
        let (here, there) = match verb {
            Verb::Cutover => (&self.link.target, &self.link.source),
            Verb::Rollback => (&self.link.source, &self.link.target),
        };
        let bootstrap = there.config.bootstrap.join(",");
        let mut text = format!(
            "Group {group} runs on {} (cluster {}) since {verb}.\n\
             To run it on {} (cluster {}) without Towpath:\n\
             1. Stop its consumers on {}.\n",
            here.name, here.id, there.name, there.id, here.name
        );
        if verb == Verb::Cutover {
            text.push_str(
                "2. Stop the linking service and wait for the end of the fence's session (30 minutes, or the source's \
                 group.max.session.timeout.ms): the group on the source is empty then.\n   \
                 It stands where the fence member committed last, at most one sync interval behind.\n",
            );
        } else {
            text.push_str("2. The target's broker holds the group: start `towpath serve` again, or use another group id.\n");
        }
        text.push_str(&format!(
            "3. See where it stands:\n   kafka-consumer-groups.sh --bootstrap-server {bootstrap} --group {group} --describe --offsets\n\
             4. To set it to the positions of this {verb}, write them to positions.csv:\n"
        ));
        for at in finals {
            let offset = if verb == Verb::Cutover { at.source_offset } else { at.target_offset };
            text.push_str(&format!("   {},{},{offset}\n", at.topic, at.partition));
        }
        text.push_str(&format!(
            "   kafka-consumer-groups.sh --bootstrap-server {bootstrap} --group {group} --reset-offsets \
             --from-file positions.csv --execute\n5. Start its consumers on {}.\n",
            there.name
        ));
        text
    }
}
