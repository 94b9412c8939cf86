//! TLS and SASL: what is accepted, what is refused, and what the refusal says.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use super::mock::{Call, Mock, Reply, answer};
use crate::client::{Client, ClientConfig, ClientError, Mechanism, Protocol, Sasl, Secret, Security, Tls};

/// An authority with a folder of its PEM files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for `name`.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn acceptor(&self, name: &str, clients: bool) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.sign(name);
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = key.serialize_der().try_into().unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn trusting(&self) -> Tls {
        Tls { ca: Some(self.path("ca.pem")), ..Tls::default() }
    }
}

/// Towards `mock` by the name `localhost`.
async fn connect(mock: &Mock, security: Security) -> Result<Client, ClientError> {
    let port = mock.address.rsplit_once(':').unwrap().1;
    mock.connect(ClientConfig { bootstrap: vec![format!("localhost:{port}")], security, ..mock.config() })
        .await
}

fn ssl(tls: Tls) -> Security {
    Security { protocol: Protocol::Ssl, sasl: None, tls: Some(tls) }
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_for_the_right_name_is_accepted() {
    let authority = Authority::new();
    let mock = Mock::listen(Some(authority.acceptor("localhost", false)), |_: &Call| None).await;
    connect(&mock, ssl(authority.trusting())).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_that_name_is_expected() {
    let authority = Authority::new();
    let mock = Mock::listen(Some(authority.acceptor("kafka.test", false)), |_: &Call| None).await;
    let error = connect(&mock, ssl(authority.trusting())).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
    assert!(error.fix().unwrap().contains("tls.server_name"));
    let expected = Tls { server_name: Some("kafka.test".to_owned()), ..authority.trusting() };
    connect(&mock, ssl(expected)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mock = Mock::listen(Some(authority.acceptor("localhost", false)), |_: &Call| None).await;
    let error = connect(&mock, ssl(other.trusting())).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }) && error.fix().unwrap().contains("tls.ca"), "{error}");
    assert_eq!(mock.count(ApiKey::ApiVersions), 0);
}

#[tokio::test]
async fn a_listener_that_demands_a_client_certificate_gets_it_or_says_so() {
    let authority = Authority::new();
    let mock = Mock::listen(Some(authority.acceptor("localhost", true)), |_: &Call| None).await;
    let error = connect(&mock, ssl(authority.trusting())).await.unwrap_err();
    assert!(error.fix().unwrap().contains("tls.cert"), "{error}");

    let (certificate, key) = authority.sign("linker");
    std::fs::write(authority.path("linker.pem"), certificate.pem()).unwrap();
    std::fs::write(authority.path("linker.key"), key.serialize_pem()).unwrap();
    let (cert, key) = (Some(authority.path("linker.pem")), Some(authority.path("linker.key")));
    connect(&mock, ssl(Tls { cert, key, ..authority.trusting() })).await.unwrap();
}

#[tokio::test]
async fn tls_to_a_plaintext_listener_and_plaintext_to_a_tls_listener_name_the_right_protocol() {
    let plaintext = Mock::start(|_: &Call| None).await;
    let authority = Authority::new();
    let error = connect(&plaintext, ssl(authority.trusting())).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongProtocol { .. }), "{error}");
    assert!(error.fix().unwrap().contains("PLAINTEXT"));

    let encrypted = Mock::listen(Some(authority.acceptor("localhost", false)), |_: &Call| None).await;
    let error = connect(&encrypted, Security::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongProtocol { .. }), "{error}");
    assert!(error.fix().unwrap().contains("SSL"));
}

#[tokio::test]
async fn certificate_files_that_do_not_read_are_named() {
    let authority = Authority::new();
    let mock = Mock::listen(Some(authority.acceptor("localhost", false)), |_: &Call| None).await;
    for (ca, words) in [("missing.pem", "missing.pem"), ("empty.pem", "no certificate")] {
        std::fs::write(authority.path("empty.pem"), "nothing").unwrap();
        let error = connect(&mock, ssl(Tls { ca: Some(authority.path(ca)), ..Tls::default() })).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ClientError::Config { .. }) && error.to_string().contains(words), "{error}");
    }
}

fn sasl(mechanism: Mechanism, password: &str) -> Security {
    let password = Secret::Literal(password.to_owned());
    let sasl = Sasl { mechanism, username: "alice".to_owned(), password };
    Security { protocol: Protocol::SaslPlaintext, sasl: Some(sasl), tls: None }
}

/// A listener that takes `message` as the whole of PLAIN, and answers a SCRAM proof with a signature of zeros.
fn authenticating(message: &'static [u8]) -> impl Fn(&Call) -> Option<Reply> {
    move |call| match call.api {
        ApiKey::SaslHandshake => {
            let wanted = call.read::<SaslHandshakeRequest>().mechanism;
            let offered = ["PLAIN", "SCRAM-SHA-256"].map(StrBytes::from_static_str).to_vec();
            let code = if offered.contains(&wanted) { 0 } else { 33 };
            let response = SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(offered);
            Some(answer::<SaslHandshakeRequest>(call.version, &response))
        }
        ApiKey::SaslAuthenticate => {
            let said = call.read::<SaslAuthenticateRequest>().auth_bytes;
            let text = String::from_utf8_lossy(&said).into_owned();
            let response = SaslAuthenticateResponse::default();
            let response = if let Some((_, nonce)) =
                text.split_once(",r=").filter(|_| text.starts_with("n,,"))
            {
                response.with_auth_bytes(Bytes::from(format!("r={nonce}more,s=c2FsdA==,i=4096")))
            } else if text.starts_with("c=") {
                response.with_auth_bytes(Bytes::from_static(b"v=AAAA"))
            } else if *said == *message {
                response
            } else {
                let words = StrBytes::from_static_str("Authentication failed: Invalid username or password");
                response.with_error_code(58).with_error_message(Some(words))
            };
            Some(answer::<SaslAuthenticateRequest>(call.version, &response))
        }
        _ => None,
    }
}

#[tokio::test]
async fn plain_sends_the_password_and_a_wrong_one_is_refused_without_showing_it() {
    let mock = Mock::start(authenticating(b"\0alice\0right")).await;
    connect(&mock, sasl(Mechanism::Plain, "right")).await.unwrap();
    let error = connect(&mock, sasl(Mechanism::Plain, "hunter2")).await.unwrap_err();
    assert!(matches!(error, ClientError::Authentication { .. }), "{error}");
    let text = format!("{error} {} {error:?}", error.fix().unwrap());
    assert!(
        text.contains("alice") && text.contains("Invalid username") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_scram_server_that_does_not_know_the_password_is_not_believed() {
    let mock = Mock::start(authenticating(b"")).await;
    let error = connect(&mock, sasl(Mechanism::ScramSha256, "right")).await.unwrap_err();
    assert!(error.to_string().contains("does not know this user's password"), "{error}");
    // Nothing was asked on that connection.
    assert_eq!(mock.count(ApiKey::Metadata), 0);
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_names_those_that_are() {
    let mock = Mock::start(authenticating(b"")).await;
    let error = connect(&mock, sasl(Mechanism::ScramSha512, "right")).await.unwrap_err();
    assert!(error.fix().unwrap().contains("PLAIN, SCRAM-SHA-256"), "{error}");
}

#[tokio::test]
async fn a_listener_without_sasl_and_one_that_demands_it_name_the_right_protocol() {
    let open = Mock::start(|call: &Call| {
        let response = SaslHandshakeResponse::default().with_error_code(34);
        (call.api == ApiKey::SaslHandshake).then(|| answer::<SaslHandshakeRequest>(call.version, &response))
    })
    .await;
    let error = connect(&open, sasl(Mechanism::Plain, "right")).await.unwrap_err();
    assert!(error.fix().unwrap().contains("PLAINTEXT and remove `sasl`"), "{error}");

    let closed = Mock::start(|call: &Call| (call.api == ApiKey::Metadata).then_some(Reply::Close)).await;
    let error = connect(&closed, Security::default()).await.unwrap_err();
    assert!(error.fix().unwrap().contains("SASL_PLAINTEXT"), "{error}");
}
