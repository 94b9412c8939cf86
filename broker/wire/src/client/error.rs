//! What can go wrong between this client and a cluster, whose fault it is, and what to do.

use std::time::Duration;

use kafka_protocol::ResponseError;

/// A failed call. Cheap to clone, so that callers who waited for one connection can share its failure.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The configuration cannot work.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// What to change.
        fix: String,
    },
    /// No connection could be made. Nothing was sent.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The operating system's or the resolver's words.
        reason: String,
        /// What to check.
        fix: String,
    },
    /// The TLS handshake failed. Nothing was sent.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// `host:port`.
        address: String,
        /// What the handshake found.
        reason: String,
        /// What to change.
        fix: String,
    },
    /// The peer does not speak what we were told it speaks. Nothing was done.
    #[error("{address} does not answer as a Kafka listener of protocol {protocol}: {reason}")]
    WrongProtocol {
        /// `host:port`.
        address: String,
        /// The configured protocol.
        protocol: super::Protocol,
        /// What was seen.
        reason: String,
        /// What to change.
        fix: String,
    },
    /// The broker did not accept who we are, or could not prove who it is.
    #[error("{address} refused user {username} by {mechanism}: {reason}")]
    Authentication {
        /// `host:port`.
        address: String,
        /// The SASL mechanism.
        mechanism: &'static str,
        /// The user's name.
        username: String,
        /// The broker's words.
        reason: String,
        /// What to change.
        fix: String,
    },
    /// The connection was gone before the request was written: it was certainly not carried out.
    #[error("connection to {address} lost before {api} was sent: {reason}")]
    Disconnected {
        /// `host:port`.
        address: String,
        /// The API's name.
        api: &'static str,
        /// Why the connection ended.
        reason: String,
    },
    /// The request was written and no answer came: it may or may not have been carried out.
    #[error("outcome of {api} at {address} is unknown: {reason}")]
    OutcomeUnknown {
        /// `host:port`.
        address: String,
        /// The API's name.
        api: &'static str,
        /// Why no answer came.
        reason: String,
    },
    /// No free slot on the connection within the time limit. Nothing was sent.
    #[error(
        "{api} was not sent to {address} within {waited:?}: {in_flight_max} requests wait for answers there"
    )]
    Busy {
        /// `host:port`.
        address: String,
        /// The API's name.
        api: &'static str,
        /// How long we waited.
        waited: Duration,
        /// The connection's bound.
        in_flight_max: usize,
    },
    /// Broker and client have no version of this API in common.
    #[error("{address} does not support {api} {wanted}; it offers {offered}")]
    Unsupported {
        /// `host:port`.
        address: String,
        /// The API's name.
        api: &'static str,
        /// Version or range that this client needs.
        wanted: String,
        /// Version or range that the broker offers, or `none`.
        offered: String,
    },
    /// The request cannot be written in this version.
    #[error("{api} version {version} cannot be written: {reason}")]
    Encode {
        /// The API's name.
        api: &'static str,
        /// The version chosen.
        version: i16,
        /// The field at fault.
        reason: String,
    },
    /// The answer broke the protocol; the connection was closed.
    #[error("answer to {api} from {address} is malformed: {reason}")]
    Malformed {
        /// `host:port`.
        address: String,
        /// The API's name.
        api: &'static str,
        /// What was found.
        reason: String,
    },
    /// The cluster has no such broker, leader or coordinator at the moment.
    #[error("{what} is not known to the cluster")]
    NoBroker {
        /// What was looked for, for example `leader of orders-3`.
        what: String,
    },
    /// Kafka's own error for one subject.
    #[error("{api} of {subject}: {} ({}){}", code_name(*.code), .code.code(), message_suffix(.message))]
    Kafka {
        /// The API's name.
        api: &'static str,
        /// What it concerns: a topic-partition, a group, a topic.
        subject: String,
        /// Kafka's error code.
        code: ResponseError,
        /// The broker's words, when it sent any.
        message: Option<String>,
    },
}

/// Whose fault an error is. Which side (source or target) a cluster stands on only the caller knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Configuration or request: repeating it will not help.
    Caller,
    /// The cluster, or the way to it.
    Cluster,
    /// Our own.
    Bug,
}

impl ClientError {
    /// A [`ClientError::Config`].
    pub(super) fn config(message: impl Into<String>, fix: impl Into<String>) -> ClientError {
        ClientError::Config { message: message.into(), fix: fix.into() }
    }

    /// `Err` for a Kafka error code other than 0.
    ///
    /// # Errors
    /// [`ClientError::Kafka`] with the given API, subject and the broker's message.
    pub fn check(
        api: &'static str,
        subject: impl FnOnce() -> String,
        code: i16,
        message: Option<&str>,
    ) -> Result<(), ClientError> {
        match ResponseError::try_from_code(code) {
            None => Ok(()),
            Some(code) => {
                Err(ClientError::Kafka { api, subject: subject(), code, message: message.map(str::to_owned) })
            }
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        use ResponseError as E;
        match self {
            ClientError::Config { .. } | ClientError::Tls { .. } | ClientError::WrongProtocol { .. } => {
                ErrorKind::Caller
            }
            ClientError::Authentication { .. } | ClientError::Unsupported { .. } => ErrorKind::Caller,
            ClientError::Encode { .. } => ErrorKind::Bug,
            ClientError::Kafka { code, .. } => match code {
                E::UnknownServerError | E::BrokerNotAvailable | E::Unknown(_) => ErrorKind::Cluster,
                code if code.is_retriable() => ErrorKind::Cluster,
                _ => ErrorKind::Caller,
            },
            _ => ErrorKind::Cluster,
        }
    }

    /// Whether the same call may succeed later _and_ repeating it cannot do the same thing twice.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Busy { .. }
            | ClientError::NoBroker { .. } => true,
            ClientError::Kafka { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// Whether the request may have been carried out although no answer came.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, ClientError::OutcomeUnknown { .. } | ClientError::Malformed { .. })
    }

    /// Kafka's error code, when a broker gave one.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            ClientError::Kafka { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// What to do about it, when there is something to say beyond the message.
    pub fn fix(&self) -> Option<&str> {
        match self {
            ClientError::Config { fix, .. }
            | ClientError::Unreachable { fix, .. }
            | ClientError::Tls { fix, .. }
            | ClientError::WrongProtocol { fix, .. }
            | ClientError::Authentication { fix, .. } => Some(fix),
            ClientError::Unsupported { .. } => Some("upgrade the cluster, or use a feature that it has"),
            ClientError::Kafka { code, .. } => code_fix(*code),
            _ => None,
        }
    }
}

fn message_suffix(message: &Option<String>) -> String {
    message.as_ref().filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default()
}

fn code_fix(code: ResponseError) -> Option<&'static str> {
    use ResponseError as E;
    Some(match code {
        E::TopicAuthorizationFailed => "grant this user the operation on the topic",
        E::GroupAuthorizationFailed => "grant this user the operation on the group",
        E::ClusterAuthorizationFailed => "grant this user the operation on the cluster",
        E::TransactionalIdAuthorizationFailed => "grant this user the operation on the transactional id",
        E::UnknownTopicOrPartition => "check the topic's name, and that this user may describe it",
        E::GroupIdNotFound => "check the group's name; an empty group's offsets may have expired",
        E::NonEmptyGroup => "stop the group's members first",
        _ => return None,
    })
}

/// Kafka's own name of an error code, for example `NOT_LEADER_OR_FOLLOWER`.
pub fn code_name(code: ResponseError) -> String {
    if let ResponseError::Unknown(code) = code {
        return format!("ERROR_{code}");
    }
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kafka_error_names_api_subject_code_and_the_brokers_words() {
        let error = ClientError::check("OffsetCommit", || "orders-3 of group a".into(), 25, Some("gone"));
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "OffsetCommit of orders-3 of group a: UNKNOWN_MEMBER_ID (25): gone");
        assert!(ClientError::check("OffsetCommit", String::new, 0, None).is_ok());
    }

    #[test]
    fn an_unknown_outcome_is_never_called_safe_to_repeat() {
        let error =
            ClientError::OutcomeUnknown { address: "a:1".into(), api: "Produce", reason: "eof".into() };
        assert!(error.is_outcome_unknown() && !error.is_retriable());
    }
}
