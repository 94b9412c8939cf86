//! What a client needs to know before it connects: addresses, security, limits.
//!
//! [`Security`] has the shape of a cluster's `security:` entry in the service's file; secrets are there only as
//! references (`env:NAME`, `file:PATH`), read at each new connection, so that a rotated one is picked up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ClientError;

/// Addresses, identity and limits of one [`super::Client`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port` of brokers to ask first; the rest of the cluster is learned from them.
    pub bootstrap: Vec<String>,
    /// The client id that brokers see in logs, quotas and group descriptions.
    pub client_id: String,
    /// Encryption and authentication.
    pub security: Security,
    /// A call, with all its repeats, gives up after this time.
    pub request_timeout: Duration,
    /// A single answer may take this long; then the connection is given up.
    pub attempt_timeout: Duration,
    /// TCP connect, TLS handshake and authentication of one connection together.
    pub connect_timeout: Duration,
    /// Requests written to one connection and not yet answered.
    pub in_flight_max: usize,
    /// The largest answer that is read; a larger one closes the connection.
    pub response_bytes_max: usize,
    /// Cached leaders are asked for again after this time even without an error.
    pub metadata_age_max: Duration,
}

impl ClientConfig {
    /// A client without encryption or authentication. `bootstrap` is `host:port`, or several with commas.
    pub fn plaintext(bootstrap: &str) -> ClientConfig {
        ClientConfig::new(bootstrap, Security::default())
    }

    /// A client with the given security and the default limits. `bootstrap` is `host:port`, or several with
    /// commas.
    pub fn new(bootstrap: &str, security: Security) -> ClientConfig {
        let bootstrap = bootstrap.split(',').map(str::trim).filter(|part| !part.is_empty());
        ClientConfig {
            bootstrap: bootstrap.map(str::to_owned).collect(),
            security,
            ..ClientConfig::default()
        }
    }

    /// The same with another client id.
    pub fn with_client_id(self, client_id: impl Into<String>) -> ClientConfig {
        ClientConfig { client_id: client_id.into(), ..self }
    }

    /// The same with another total time per call; a single answer may then take no longer than that either.
    pub fn with_request_timeout(self, request_timeout: Duration) -> ClientConfig {
        let attempt_timeout = self.attempt_timeout.min(request_timeout);
        ClientConfig { request_timeout, attempt_timeout, ..self }
    }

    /// Checks what can be checked without the network.
    ///
    /// # Errors
    /// [`ClientError::Config`] that names the setting and the fix.
    pub fn validate(&self) -> Result<(), ClientError> {
        if self.bootstrap.is_empty() {
            return Err(ClientError::config("no bootstrap address", "set `bootstrap` to HOST:PORT"));
        }
        for address in &self.bootstrap {
            split_address(address)?;
        }
        if self.in_flight_max == 0 {
            return Err(ClientError::config("in_flight_max is 0", "allow at least one request in flight"));
        }
        self.security.validate()
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            bootstrap: Vec::new(),
            client_id: "towpath".to_owned(),
            security: Security::default(),
            request_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            in_flight_max: 32,
            // A fetch answers at most fetch.max.bytes (55 MB by default) plus one batch that is larger.
            response_bytes_max: 128 << 20,
            metadata_age_max: Duration::from_secs(300),
        }
    }
}

/// Host and port of `HOST:PORT`; an IPv6 host may stand in brackets.
pub(super) fn split_address(address: &str) -> Result<(&str, u16), ClientError> {
    let wrong = || {
        ClientError::config(
            format!("`{address}` is not an address"),
            "write HOST:PORT, for example kafka-1.internal:9092",
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 {
        return Err(wrong());
    }
    Ok((host, port))
}

/// Encryption and authentication towards one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// What the listener speaks.
    #[serde(default)]
    pub protocol: Protocol,
    /// Who we are; needed by the `SASL_*` protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Certificates for `SSL` and `SASL_SSL`; without it the system's roots are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Security {
    /// Checks that protocol, credentials and certificates fit together.
    ///
    /// # Errors
    /// [`ClientError::Config`] that names the setting and the fix.
    pub fn validate(&self) -> Result<(), ClientError> {
        let protocol = self.protocol;
        match (&self.sasl, protocol.is_sasl()) {
            (None, true) => {
                return Err(ClientError::config(
                    format!("protocol {protocol} without credentials"),
                    "add `sasl: { mechanism, username, password }`, or use PLAINTEXT or SSL",
                ));
            }
            (Some(_), false) => {
                return Err(ClientError::config(
                    format!("credentials given, but protocol {protocol} does not authenticate"),
                    "set `protocol` to SASL_SSL or SASL_PLAINTEXT, or remove `sasl`",
                ));
            }
            _ => {}
        }
        let Some(tls) = &self.tls else { return Ok(()) };
        if !protocol.is_tls() {
            return Err(ClientError::config(
                format!("certificates given, but protocol {protocol} does not encrypt"),
                "set `protocol` to SSL or SASL_SSL, or remove `tls`",
            ));
        }
        if tls.cert.is_some() != tls.key.is_some() {
            return Err(ClientError::config(
                "a client certificate needs both its chain and its key",
                "set both `tls.cert` and `tls.key`, or neither",
            ));
        }
        Ok(())
    }
}

/// What a listener speaks; named as in Kafka's `security.protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Neither encryption nor authentication.
    #[default]
    #[serde(rename = "PLAINTEXT", alias = "plaintext")]
    Plaintext,
    /// TLS; the client may show a certificate.
    #[serde(rename = "SSL", alias = "ssl")]
    Ssl,
    /// SASL without encryption.
    #[serde(rename = "SASL_PLAINTEXT", alias = "sasl_plaintext")]
    SaslPlaintext,
    /// SASL inside TLS.
    #[serde(rename = "SASL_SSL", alias = "sasl_ssl")]
    SaslSsl,
}

impl Protocol {
    /// Whether the connection is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    /// Whether the client authenticates by SASL.
    pub fn is_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        })
    }
}

/// SASL credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// The user's name, not a secret.
    pub username: String,
    /// Where the password is.
    pub password: Secret,
}

/// SASL mechanisms; named as in Kafka's `sasl.mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mechanism {
    /// RFC 4616: the password itself; safe only inside TLS.
    #[serde(rename = "PLAIN", alias = "plain")]
    Plain,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256", alias = "scram-sha-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512, as Kafka has it.
    #[serde(rename = "SCRAM-SHA-512", alias = "scram-sha-512")]
    ScramSha512,
}

impl Mechanism {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Certificates, all PEM files, read at each new connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authorities that may sign the brokers' certificates; without it the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The client's certificate chain, own certificate first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The client's private key (PKCS#8, PKCS#1 or SEC1; not encrypted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name to check the brokers' certificates against, where it differs from the host connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A reference to a secret. Never printed: `Debug` and `Serialize` show the reference, or nothing.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The contents of a file, without a line break at its end.
    File(PathBuf),
    /// The value itself. Only code can make one; a configuration file cannot.
    Literal(String),
}

impl Secret {
    /// Reads `env:NAME` or `file:PATH`.
    ///
    /// # Errors
    /// [`ClientError::Config`] for anything else; the text itself is not repeated, it may be a password.
    pub fn parse(reference: &str) -> Result<Secret, ClientError> {
        match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Secret::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Secret::File(PathBuf::from(path))),
            _ => Err(ClientError::config(
                "a secret must be a reference, not the secret itself",
                "write env:NAME or file:PATH",
            )),
        }
    }

    /// The secret itself, read now.
    ///
    /// # Errors
    /// [`ClientError::Config`] when the variable or the file is not there.
    pub fn reveal(&self) -> Result<String, ClientError> {
        match self {
            Secret::Literal(value) => Ok(value.clone()),
            Secret::Env(name) => std::env::var(name).map_err(|_| {
                ClientError::config(
                    format!("the environment variable {name} is not set"),
                    format!("set {name} to the secret before starting"),
                )
            }),
            Secret::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(ClientError::config(
                    format!("the secret's file {} cannot be read: {error}", path.display()),
                    "create the file, or give this process the right to read it",
                )),
            },
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "env:{name}"),
            Secret::File(path) => write!(f, "file:{}", path.display()),
            Secret::Literal(_) => f.write_str("(secret)"),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        let reference = String::deserialize(deserializer)?;
        Secret::parse(&reference).map_err(|error| match error.fix() {
            Some(fix) => serde::de::Error::custom(format_args!("{error}; {fix}")),
            None => serde::de::Error::custom(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed_and_never_read_from_a_file_as_itself() {
        let secret = Secret::Literal("hunter2".to_owned());
        let printed = format!("{secret:?} {}", serde_json::to_string(&secret).unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
        let error = serde_json::from_str::<Secret>("\"hunter2\"").unwrap_err().to_string();
        assert!(error.contains("env:NAME") && !error.contains("hunter2"), "{error}");
        assert_eq!(serde_json::from_str::<Secret>("\"env:PW\"").unwrap(), Secret::Env("PW".to_owned()));
    }

    #[test]
    fn a_secret_file_loses_only_its_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " pass word \r\n").unwrap();
        assert_eq!(Secret::File(file.path().to_owned()).reveal().unwrap(), " pass word ");
    }

    #[test]
    fn security_reads_kafkas_names_and_refuses_unknown_keys() {
        let text = r#"{"protocol": "SASL_SSL", "tls": {"ca": "/etc/ca.pem"},
            "sasl": {"mechanism": "SCRAM-SHA-512", "username": "link", "password": "file:/run/pw"}}"#;
        let security: Security = serde_json::from_str(text).unwrap();
        security.validate().unwrap();
        assert_eq!(security.sasl.unwrap().mechanism, Mechanism::ScramSha512);
        assert!(serde_json::from_str::<Security>(r#"{"tsl": {}}"#).is_err());
    }

    #[test]
    fn parts_of_security_that_do_not_fit_are_refused_with_a_fix() {
        let tls = Some(Tls::default());
        let cases = [
            Security { protocol: Protocol::SaslSsl, sasl: None, tls: None },
            Security { protocol: Protocol::Plaintext, sasl: None, tls },
            Security {
                protocol: Protocol::Ssl,
                sasl: None,
                tls: Some(Tls { cert: Some("c.pem".into()), ..Tls::default() }),
            },
        ];
        for security in cases {
            assert!(security.validate().unwrap_err().fix().is_some());
        }
    }

    #[test]
    fn addresses_are_checked_before_anything_connects() {
        assert_eq!(split_address("[::1]:9092").unwrap(), ("::1", 9092));
        for wrong in ["kafka", "kafka:", ":9092", "kafka:0", "kafka:99999"] {
            assert!(ClientConfig::plaintext(wrong).validate().is_err(), "{wrong}");
        }
        assert_eq!(ClientConfig::plaintext("a:1, b:2").bootstrap, ["a:1", "b:2"]);
    }
}
