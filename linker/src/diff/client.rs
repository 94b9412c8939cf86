//! How librdkafka is told to reach a cluster and to read for the diff.

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig as Settings, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use towpath_wire::client::{ClientConfig, ClientError};

use crate::error::{LinkerError, Side};

/// Bytes asked for in one fetch from one broker, and from one partition.
const FETCH_BYTES_MAX: usize = 8 << 20;
const FETCH_PARTITION_BYTES_MAX: usize = 1 << 20;
/// Bytes of records that librdkafka reads ahead for one side of one family, in KiB.
const READ_AHEAD_KIB_MAX: usize = 16 << 10;
/// How long a broker may hold a fetch that finds nothing, in ms. A reader only reads what it knows to be there: an
/// empty answer means the end, which a move's pause waits for, and so does a job that comes while one is held.
const FETCH_WAIT_MS: u32 = 1;

/// The settings of a reader of the cluster that `config` leads to.
///
/// # Errors
/// A secret cannot be read, or TLS is configured in a way that librdkafka has no setting for.
pub(super) fn settings(config: &ClientConfig, side: Side) -> Result<Settings, LinkerError> {
    let name = format!("{}-diff", config.client_id);
    let mut settings = Settings::new();
    settings
        .set("bootstrap.servers", config.bootstrap.join(","))
        .set("client.id", &name)
        // librdkafka assigns partitions only to a consumer with a group id. The group is never joined, nothing is
        // committed, and offsets are always given.
        .set("group.id", &name)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        // Aborted records are mirrored like all others, so that they are compared like all others.
        .set("isolation.level", "read_uncommitted")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
        .set("fetch.max.bytes", FETCH_BYTES_MAX.to_string())
        .set("max.partition.fetch.bytes", FETCH_PARTITION_BYTES_MAX.to_string())
        // A broker sends one batch even where it is larger than what was asked for.
        .set("receive.message.max.bytes", config.response_bytes_max.to_string())
        .set("queued.max.messages.kbytes", READ_AHEAD_KIB_MAX.to_string())
        // By default a full queue rests a partition for a second, and a failed fetch for half of one.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.error.backoff.ms", "50")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        // A guest does not push its own metrics to the cluster (KIP-714).
        .set("enable.metrics.push", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    secure(&mut settings, config).map_err(LinkerError::cluster(side, "configure the diff's reader"))?;
    Ok(settings)
}

fn secure(settings: &mut Settings, config: &ClientConfig) -> Result<(), ClientError> {
    let security = &config.security;
    settings.set("security.protocol", security.protocol.to_string());
    if let Some(sasl) = &security.sasl {
        settings
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", sasl.password.reveal()?);
    }
    if !security.protocol.is_tls() {
        return Ok(());
    }
    let tls = security.tls.clone().unwrap_or_default();
    let files = [
        ("ssl.ca.location", &tls.ca),
        ("ssl.certificate.location", &tls.cert),
        ("ssl.key.location", &tls.key),
    ];
    for (key, path) in files {
        if let Some(path) = path {
            settings.set(key, path.display().to_string());
        }
    }
    if tls.ca.is_none() {
        settings.set("ssl.ca.location", "probe");
    }
    match (&tls.server_name, &tls.ca) {
        (None, _) => {}
        // librdkafka checks the name it connected to or none at all. Under an authority of one's own the
        // certificate alone says enough; under the public ones it says nothing.
        (Some(_), Some(_)) => {
            settings.set("ssl.endpoint.identification.algorithm", "none");
        }
        (Some(name), None) => {
            return Err(ClientError::Config {
                message: format!(
                    "tls.server_name is {name} without tls.ca: the diff's reader cannot check that name"
                ),
                fix: "name the authority in `tls.ca`, or connect by the name in the certificate".into(),
            });
        }
    }
    Ok(())
}

/// Takes librdkafka's own words. They are never what an operator must act on: reading that does not go on ends in
/// an error of ours.
pub(super) struct Quiet {
    side: Side,
    last: Mutex<Option<String>>,
}

impl Quiet {
    pub(super) fn new(side: Side) -> Quiet {
        Quiet { side, last: Mutex::default() }
    }

    /// The last complaint, once.
    pub(super) fn complaint(&self) -> Option<String> {
        self.last.lock().take()
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(side = %self.side, ?level, facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is reported here too; whoever reads learns it from the poll.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        tracing::info!(side = %self.side, %error, "the diff's reader: {reason}");
        // That all are down is what the others add up to.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last.lock() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Quiet {}

#[cfg(test)]
mod tests {
    use towpath_wire::client::{Mechanism, Protocol, Sasl, Secret, Security, Tls};

    use super::*;

    fn config(security: Security) -> ClientConfig {
        ClientConfig::new("a:1,b:2", security)
    }

    #[test]
    fn a_reader_is_a_guest_that_reads_aborted_records_and_leaves_no_trace() {
        let settings = settings(&config(Security::default()), Side::Source).unwrap();
        for (key, value) in [
            ("bootstrap.servers", "a:1,b:2"),
            ("isolation.level", "read_uncommitted"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
            ("allow.auto.create.topics", "false"),
            ("check.crcs", "true"),
            ("security.protocol", "PLAINTEXT"),
        ] {
            assert_eq!(settings.get(key), Some(value), "{key}");
        }
        settings.create_native_config().unwrap();
    }

    #[test]
    fn credentials_and_certificates_are_those_of_the_link() {
        let sasl = Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "link".into(),
            password: Secret::Literal("hunter2".into()),
        };
        let tls = Tls { ca: Some("ca.pem".into()), server_name: Some("kafka".into()), ..Tls::default() };
        let security = Security { protocol: Protocol::SaslSsl, sasl: Some(sasl), tls: Some(tls) };
        let secured = settings(&config(security.clone()), Side::Source).unwrap();
        assert_eq!(secured.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(secured.get("sasl.password"), Some("hunter2"));
        assert_eq!(secured.get("ssl.ca.location"), Some("ca.pem"));
        assert_eq!(secured.get("ssl.endpoint.identification.algorithm"), Some("none"));

        let mut without_ca = security;
        without_ca.tls.as_mut().unwrap().ca = None;
        let refused = settings(&config(without_ca), Side::Target).unwrap_err().to_string();
        assert!(refused.contains("tls.ca") && !refused.contains("hunter2"), "{refused}");
    }
}
