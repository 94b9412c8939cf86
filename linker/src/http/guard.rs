//! Who may call the API: hosts, origins, tokens, roles. Decided once per request, before any handler.

use std::net::IpAddr;

use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use towpath_plans::evidence::Actor;

use super::body::Asked;
use super::problem::Refusal;
use crate::config::{Role, TokenConfig, resolve_secret};
use crate::error::LinkerError;
use crate::operation::Request;

/// Browsers say here where a request comes from, scripts do not send it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Characters of the name that an unauthenticated caller claims.
const CLAIMED_NAME_CHARS_MAX: usize = 64;
/// Shorter tokens can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// See status and operations.
    Read,
    /// See evidence.
    Audit,
    /// Run verbs that leave a way back.
    Operate,
    /// Run verbs that do not.
    Approve,
}

impl Role {
    /// Its name in the service's file and in evidence.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
        }
    }

    /// Whether its holder has this right.
    pub fn may(self, right: Right) -> bool {
        match right {
            Right::Read => true,
            Right::Audit => self != Role::Viewer,
            Right::Operate => matches!(self, Role::Operator | Role::Approver),
            Right::Approve => self == Role::Approver,
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// No token is configured: everybody on this host.
    Unauthenticated,
    /// The holder of a token.
    Holder {
        /// The token's name.
        name: String,
        /// Its role.
        role: Role,
    },
}

impl Caller {
    /// The request as journal and evidence record it: with the authenticated name, or one that is marked.
    pub fn sign(&self, asked: &Asked) -> Request {
        let actor = match self {
            Caller::Holder { name, role } => {
                Actor { name: name.clone(), authenticated: true, role: role.as_str().into() }
            }
            Caller::Unauthenticated => {
                let name = format!("unauthenticated ({})", printable(&asked.actor));
                Actor { name, authenticated: false, role: "unauthenticated".into() }
            }
        };
        let Asked { reason, dry_run, accept_outage, .. } = asked.clone();
        Request { actor, reason, dry_run, accept_outage }
    }
}

fn printable(claimed: &str) -> String {
    let name: String =
        claimed.chars().filter(|c| !c.is_control()).take(CLAIMED_NAME_CHARS_MAX).collect::<String>();
    if name.trim().is_empty() { "unknown".into() } else { name.trim().into() }
}

/// The service's tokens, by digest: what is compared has one length and says nothing about the token.
pub struct Guard {
    tokens: Vec<(blake3::Hash, Caller)>,
}

impl Guard {
    /// Reads the tokens that the service's file refers to.
    ///
    /// # Errors
    /// A reference that cannot be read, a token that can be guessed, or one that is given twice.
    pub fn new(tokens: &[TokenConfig]) -> Result<Guard, LinkerError> {
        let mut known: Vec<(blake3::Hash, Caller)> = Vec::new();
        for token in tokens {
            let refuse = |problem: &str, fix: &str| LinkerError::Config {
                place: format!("tokens: {}", token.name),
                problem: problem.into(),
                fix: fix.into(),
            };
            let text = resolve_secret(&token.token)?;
            if text.len() < TOKEN_BYTES_MIN {
                return Err(refuse("is too short to be safe", "use 16 random bytes or more, as text"));
            }
            let digest = blake3::hash(text.as_bytes());
            if known.iter().any(|(other, _)| *other == digest) {
                return Err(refuse("is also the token of another name", "give every name its own token"));
            }
            known.push((digest, Caller::Holder { name: token.name.clone(), role: token.role }));
        }
        Ok(Guard { tokens: known })
    }

    /// Who calls with these headers.
    ///
    /// # Errors
    /// A page of another site, a host name that only a rebound DNS answer explains, or no valid token.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        refuse_other_sites(headers)?;
        if self.tokens.is_empty() {
            refuse_other_hosts(headers)?;
            return Ok(Caller::Unauthenticated);
        }
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = token else {
            return Err(Refusal::caller(
                StatusCode::UNAUTHORIZED,
                "this service asks for a bearer token",
                "set TOWPATH_TOKEN, or give --token env:NAME or file:PATH",
            ));
        };
        let digest = blake3::hash(token.as_bytes());
        // `blake3::Hash` compares in constant time; every token is compared.
        let holders: Vec<&Caller> =
            self.tokens.iter().filter(|(known, _)| *known == digest).map(|(_, caller)| caller).collect();
        holders.first().map(|caller| (*caller).clone()).ok_or_else(|| {
            Refusal::caller(
                StatusCode::UNAUTHORIZED,
                "this token is not known here",
                "ask who runs the service for a token",
            )
        })
    }

    /// Whether anybody may ask for pages that say nothing about the estate.
    fn is_open(path: &str) -> bool {
        matches!(path, "/healthz" | "/readyz")
    }
}

/// Middleware: admits the caller and tells handlers who it is.
pub async fn admit(
    State(guard): State<std::sync::Arc<Guard>>,
    mut request: HttpRequest,
    next: Next,
) -> Response {
    let open = Guard::is_open(request.uri().path()) && !guard.tokens.is_empty();
    if open {
        return next.run(request).await;
    }
    match guard.admit(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            let mut response = refusal.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

/// Middleware: what a route needs, of the caller that [`admit`] has found.
pub async fn require(State(right): State<Right>, request: HttpRequest, next: Next) -> Response {
    let refused = match request.extensions().get::<Caller>() {
        Some(Caller::Unauthenticated) => None,
        Some(Caller::Holder { role, .. }) if role.may(right) => None,
        Some(Caller::Holder { name, role }) => {
            Some(format!("the role of {name}, {}, does not allow this", role.as_str()))
        }
        None => Some("nobody was admitted".into()),
    };
    match refused {
        None => next.run(request).await,
        Some(message) => {
            let fix = match right {
                Right::Read | Right::Audit => "use a token whose role is auditor",
                Right::Operate => "use a token whose role is operator",
                Right::Approve => "ask the holder of a token whose role is approver",
            };
            Refusal::caller(StatusCode::FORBIDDEN, message, fix).into_response()
        }
    }
}

/// A browser says where its request comes from; a page of another site has no business here.
fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let own = |origin: &str| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_some() && authority == text(HOST)
    };
    let foreign_origin = text(ORIGIN).is_some_and(|origin| !own(origin));
    let foreign_site = text(FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if foreign_origin || foreign_site {
        return Err(Refusal::caller(
            StatusCode::FORBIDDEN,
            "the request comes from a page of another site",
            "call the API from the towpath command or from a script",
        ));
    }
    Ok(())
}

/// Without tokens only this host is served, so only its names are right: any other name in `Host` means that a
/// foreign page reached this address through its own name (DNS rebinding).
fn refuse_other_hosts(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if is_loopback(host) {
        return Ok(());
    }
    Err(Refusal::caller(
        StatusCode::FORBIDDEN,
        format!("Host: {host} is not a name of this machine alone"),
        "without tokens the service answers to localhost, 127.0.0.1 and [::1] only; list `tokens:`",
    ))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
