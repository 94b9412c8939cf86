//! From an address to a usable connection: TCP, TLS, ApiVersions, SASL, all within the connect time-out.

use std::io;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;
use tokio::time::timeout;
use towpath_env::Env;

use super::codec::decode;
use super::config::{ClientConfig, Protocol, Tls, split_address};
use super::connection::Connection;
use super::error::ClientError;
use super::versions::ApiVersions;
use super::{sasl, tls};

/// The ApiVersions version we begin with; older brokers answer any other by version 0 and say what they have.
const API_VERSIONS_FIRST: i16 = 3;

/// Opens a connection to `host:port`.
///
/// # Errors
/// What went wrong, with a fix; nothing was asked of the broker yet.
pub(super) async fn open(address: &str, config: &ClientConfig, env: &Env) -> Result<Connection, ClientError> {
    match timeout(config.connect_timeout, open_unbounded(address, config, env)).await {
        Ok(opened) => opened,
        Err(_) => Err(unreachable(
            address,
            format!("no connection within {} ms", config.connect_timeout.as_millis()),
            "check the address, and that no firewall drops packets to it",
        )),
    }
}

async fn open_unbounded(address: &str, config: &ClientConfig, env: &Env) -> Result<Connection, ClientError> {
    let (host, port) = split_address(address)?;
    let stream = TcpStream::connect((host, port)).await.map_err(|error| not_connected(address, &error))?;
    stream.set_nodelay(true).map_err(|error| not_connected(address, &error))?;

    let protocol = config.security.protocol;
    let connection = if protocol.is_tls() {
        let no_tls = Tls::default();
        let settings = config.security.tls.as_ref().unwrap_or(&no_tls);
        let stream = tls::encrypt(stream, address, host, protocol, settings).await?;
        let (reader, writer) = tokio::io::split(stream);
        Connection::start(address.to_owned(), reader, writer, config, env)
    } else {
        let (reader, writer) = stream.into_split();
        Connection::start(address.to_owned(), reader, writer, config, env)
    };
    let versions = negotiate(&connection).await.map_err(|error| explain_first(error, address, protocol))?;
    connection.set_versions(versions);
    if let Some(credentials) = &config.security.sasl {
        sasl::authenticate(&connection, protocol, credentials, env).await?;
    }
    Ok(connection)
}

/// Asks what the broker offers (KIP-35, KIP-511).
async fn negotiate(connection: &Connection) -> Result<ApiVersions, ClientError> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("towpath"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let mut version = API_VERSIONS_FIRST;
    let mut answer = connection.send_undecoded(&request, version).await?;
    if error_code(&answer) == Some(ResponseError::UnsupportedVersion.code()) {
        // The refusal itself is in version 0 and may name the versions that would do (KIP-511).
        let offered = decode_versions(connection, 0, answer).unwrap_or_default();
        let range = offered.range(ApiKey::ApiVersions as i16);
        version = range.map_or(0, |(_, max)| max.clamp(0, API_VERSIONS_FIRST - 1));
        answer = connection.send_undecoded(&request_of(&request, version), version).await?;
    }
    if let Some(code) = error_code(&answer) {
        ClientError::check("ApiVersions", || connection.address().to_owned(), code, None)?;
    }
    decode_versions(connection, version, answer)
}

/// Before version 3 the request was empty.
fn request_of(request: &ApiVersionsRequest, version: i16) -> ApiVersionsRequest {
    if version >= 3 { request.clone() } else { ApiVersionsRequest::default() }
}

/// The response's header is version 0 in every version, and its body begins with the error code.
fn error_code(answer: &Bytes) -> Option<i16> {
    answer.first_chunk::<2>().map(|code| i16::from_be_bytes(*code))
}

fn decode_versions(connection: &Connection, version: i16, answer: Bytes) -> Result<ApiVersions, ClientError> {
    match decode::<ApiVersionsRequest>(version, answer) {
        Ok(response) => Ok(ApiVersions::from_response(&response)),
        Err(reason) => Err(ClientError::Malformed {
            address: connection.address().to_owned(),
            api: "ApiVersions",
            reason,
        }),
    }
}

/// What a failed first exchange says about the listener.
fn explain_first(error: ClientError, address: &str, protocol: Protocol) -> ClientError {
    let ClientError::OutcomeUnknown { reason, .. } = &error else { return error };
    if protocol.is_tls() {
        // With TLS 1.3 a client certificate is judged after the client's handshake is done: an alert comes now.
        return ClientError::Tls {
            address: address.to_owned(),
            reason: reason.clone(),
            fix: "set `tls.cert` and `tls.key` to a client certificate that the broker trusts, if it demands one"
                .to_owned(),
        };
    }
    let with_tls = if protocol == Protocol::SaslPlaintext { "SASL_SSL" } else { "SSL" };
    ClientError::WrongProtocol {
        address: address.to_owned(),
        protocol,
        reason: format!("the first exchange failed: {reason}"),
        fix: format!("set `protocol` to {with_tls} if this is a TLS listener, or check the port"),
    }
}

/// What a failed first call after a fine handshake says: a broker lets anyone ask for its versions, and then
/// drops who has not authenticated.
pub(super) fn explain_first_call(error: ClientError, protocol: Protocol) -> ClientError {
    match error {
        ClientError::OutcomeUnknown { address, reason, .. } if !protocol.is_sasl() => {
            let with_sasl = if protocol.is_tls() { "SASL_SSL" } else { "SASL_PLAINTEXT" };
            ClientError::WrongProtocol {
                address,
                protocol,
                reason: format!("it answered the greeting, but nothing after it: {reason}"),
                fix: format!("set `protocol` to {with_sasl} and add `sasl`, if this listener authenticates"),
            }
        }
        error => error,
    }
}

fn not_connected(address: &str, error: &io::Error) -> ClientError {
    let fix = match error.kind() {
        io::ErrorKind::ConnectionRefused => "start the broker, or check the port",
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "check the address, and that no firewall drops packets to it"
        }
        _ => "check the host's name and port",
    };
    unreachable(address, error.to_string(), fix)
}

fn unreachable(address: &str, reason: String, fix: &str) -> ClientError {
    ClientError::Unreachable { address: address.to_owned(), reason, fix: fix.to_owned() }
}
