//! TLS of one connection: trust, client certificate, and errors that say what to change.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig as TlsConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Protocol, Tls};
use super::error::ClientError;

/// Encrypts `stream`, having checked the peer's certificate against the trusted roots and the host's name.
///
/// # Errors
/// [`ClientError::Tls`], [`ClientError::WrongProtocol`], or [`ClientError::Config`] for files that do not read.
pub(super) async fn encrypt(
    stream: TcpStream,
    address: &str,
    host: &str,
    protocol: Protocol,
    tls: &Tls,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let config = tls_config(tls)?;
    let name = tls.server_name.as_deref().unwrap_or(host);
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
        ClientError::config(format!("`{name}` is not a host name or IP address"), "set `tls.server_name`")
    })?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(server_name, stream).await.map_err(|error| explain(&error, address, name, protocol))
}

fn tls_config(tls: &Tls) -> Result<TlsConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::config(format!("TLS cannot be set up: {error}"), "report this"))?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(cert, "tls.cert")?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "tls.key", &error))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| {
        ClientError::config(
            format!("client certificate {} and key {} do not fit: {error}", cert.display(), key.display()),
            "give the key that belongs to the first certificate of the chain",
        )
    })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        for certificate in certificates(path, "tls.ca")? {
            roots.add(certificate).map_err(|error| unreadable(path, "tls.ca", &error))?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(ClientError::config(
            "this system has no trusted root certificates",
            "set `tls.ca` to the authority of the cluster's certificates, or install ca-certificates",
        ));
    }
    Ok(roots)
}

fn certificates(path: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(path, setting, &"there is no certificate in it"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, setting, &error)),
    }
}

fn unreadable(path: &Path, setting: &str, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::config(
        format!("{setting} {} cannot be used: {error}", path.display()),
        format!("point `{setting}` at a readable PEM file (keys not encrypted)"),
    )
}

fn explain(error: &io::Error, address: &str, name: &str, protocol: Protocol) -> ClientError {
    let not_tls = |reason: String| ClientError::WrongProtocol {
        address: address.to_owned(),
        protocol,
        reason,
        fix: format!(
            "set `protocol` to {}, or use the address of a TLS listener",
            if protocol == Protocol::SaslSsl { "SASL_PLAINTEXT" } else { "PLAINTEXT" }
        ),
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => not_tls(format!("it ended the TLS handshake ({error})")),
            _ => failed(address, error.to_string(), "check the network between here and the broker"),
        };
    };
    let fix = match inner {
        rustls::Error::InvalidMessage(_) => return not_tls(format!("it does not answer in TLS ({inner})")),
        rustls::Error::InvalidCertificate(why) => certificate_fix(why, name),
        rustls::Error::AlertReceived(alert) => alert_fix(*alert),
        _ => "see what TLS versions and ciphers the listener allows".to_owned(),
    };
    failed(address, inner.to_string(), fix)
}

fn failed(address: &str, reason: String, fix: impl Into<String>) -> ClientError {
    ClientError::Tls { address: address.to_owned(), reason, fix: fix.into() }
}

fn certificate_fix(why: &CertificateError, name: &str) -> String {
    match why {
        // A bad signature: an authority of the same name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "set `tls.ca` to the certificate of the authority that signed the broker's".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "connect by a name in the broker's certificate (its subjectAltName has no {name}), or set \
             `tls.server_name` to one"
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the broker's certificate".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "check this machine's clock".to_owned()
        }
        _ => "check the broker's certificate with `openssl s_client -showcerts`".to_owned(),
    }
}

/// What a broker's alert asks of us.
pub(super) fn alert_fix(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::HandshakeFailure => {
            "set `tls.cert` and `tls.key` to a client certificate that the broker trusts".to_owned()
        }
        _ => "see the broker's log for why it refused".to_owned(),
    }
}
