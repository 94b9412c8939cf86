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
        Request { reason, dry_run, accept_outage, ..Request::by(actor) }
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
    match guard.admit(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        // Handlers see that nobody is known, and say nothing about the estate.
        Err(_) if open => next.run(request).await,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, post};
    use axum::{Extension, Router};
    use tower::ServiceExt;

    use super::*;

    const VIEWER: &str = "viewer-token-0123456789";
    const OPERATOR: &str = "operator-token-0123456789";
    const APPROVER: &str = "approver-token-0123456789";
    const AUDITOR: &str = "auditor-token-0123456789";

    fn with_tokens() -> Guard {
        let tokens = [
            (VIEWER, Role::Viewer),
            (OPERATOR, Role::Operator),
            (APPROVER, Role::Approver),
            (AUDITOR, Role::Auditor),
        ];
        let tokens = tokens.into_iter().map(|(token, role)| {
            let caller = Caller::Holder { name: role.as_str().into(), role };
            (blake3::hash(token.as_bytes()), caller)
        });
        Guard { tokens: tokens.collect() }
    }

    async fn who(Extension(caller): Extension<Caller>) -> String {
        caller.sign(&Asked { actor: "eve\n".into(), ..Asked::default() }).actor.name
    }

    /// A route per right, behind the same two middlewares as the API's.
    fn router(guard: Guard) -> Router {
        let route = |path: &str, right| {
            Router::new().route(path, post(who)).route_layer(from_fn_with_state(right, require))
        };
        Router::new()
            .route("/healthz", get(async || "ok"))
            .merge(route("/read", Right::Read))
            .merge(route("/audit", Right::Audit))
            .merge(route("/operate", Right::Operate))
            .merge(route("/approve", Right::Approve))
            .layer(from_fn_with_state(Arc::new(guard), admit))
    }

    async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let method = if path == "/healthz" { "GET" } else { "POST" };
        let mut request = HttpRequest::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn each_role_may_do_what_it_is_for_and_nothing_else() {
        let router = router(with_tokens());
        let expected = [
            (VIEWER, [200, 403, 403, 403]),
            (AUDITOR, [200, 200, 403, 403]),
            (OPERATOR, [200, 200, 200, 403]),
            (APPROVER, [200, 200, 200, 200]),
        ];
        for (token, statuses) in expected {
            let bearer = format!("Bearer {token}");
            for (path, expected) in ["/read", "/audit", "/operate", "/approve"].into_iter().zip(statuses) {
                let (status, body) = ask(&router, path, &[("authorization", &bearer)]).await;
                assert_eq!(status, expected, "{token} {path}: {body}");
            }
        }
    }

    #[tokio::test]
    async fn without_a_known_token_only_health_is_told() {
        let router = router(with_tokens());
        for header in ["Bearer wrong", "Bearer ", "Basic viewer-token-0123456789", "viewer-token-0123456789"]
        {
            let (status, body) = ask(&router, "/read", &[("authorization", header)]).await;
            assert_eq!(status, 401, "{header}");
            assert!(body.contains("towpath/error/v1") && !body.contains("0123456789"), "{body}");
        }
        assert_eq!(ask(&router, "/read", &[]).await.0, 401);
        assert_eq!(ask(&router, "/healthz", &[]).await.0, 200);
    }

    #[tokio::test]
    async fn the_token_names_the_actor_whatever_the_caller_claims() {
        let router = router(with_tokens());
        let bearer = format!("bearer {OPERATOR}");
        assert_eq!(ask(&router, "/operate", &[("authorization", &bearer)]).await.1, "operator");
    }

    #[tokio::test]
    async fn without_tokens_the_actor_is_marked_and_only_names_of_this_host_are_served() {
        let router = router(Guard::new(&[]).unwrap());
        for host in ["127.0.0.1:8088", "localhost", "LOCALHOST:8088", "[::1]:8088", "127.8.8.8:1"] {
            let (status, body) = ask(&router, "/approve", &[("host", host)]).await;
            assert_eq!((status, body.as_str()), (200, "unauthenticated (eve)"), "{host}");
        }
        for host in ["evil.example", "evil.example:8088", "localhost.evil.example", "10.0.0.1:8088", ""] {
            assert_eq!(ask(&router, "/read", &[("host", host)]).await.0, 403, "{host}");
        }
        assert_eq!(ask(&router, "/read", &[]).await.0, 403);
    }

    #[tokio::test]
    async fn a_page_of_another_site_is_refused_with_or_without_tokens() {
        let bearer = format!("Bearer {APPROVER}");
        let host = ("host", "127.0.0.1:8088");
        for (router, token) in
            [(router(with_tokens()), Some(&bearer)), (router(Guard::new(&[]).unwrap()), None)]
        {
            let mut own = vec![host];
            own.extend(token.map(|bearer| ("authorization", bearer.as_str())));
            for foreign in [
                ("origin", "http://evil.example"),
                ("origin", "null"),
                ("origin", "http://127.0.0.1:9999"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                let headers: Vec<_> = own.iter().copied().chain([foreign]).collect();
                assert_eq!(ask(&router, "/operate", &headers).await.0, 403, "{foreign:?}");
            }
            for same in [("origin", "http://127.0.0.1:8088"), ("sec-fetch-site", "same-origin")] {
                let headers: Vec<_> = own.iter().copied().chain([same]).collect();
                assert_eq!(ask(&router, "/operate", &headers).await.0, 200, "{same:?}");
            }
        }
    }

    #[test]
    fn a_token_that_can_be_guessed_or_is_shared_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let token = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            TokenConfig { name: name.into(), role: Role::Viewer, token: format!("file:{}", path.display()) }
        };
        let refused = |tokens: &[TokenConfig]| match Guard::new(tokens) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        };
        let short = refused(&[token("ann", "hunter2\n")]);
        assert!(short.contains("too short") && !short.contains("hunter2"), "{short}");
        let twice = refused(&[token("ann", "0123456789abcdef"), token("bob", "0123456789abcdef\n")]);
        assert!(twice.contains("bob") && twice.contains("another name"), "{twice}");
    }
}
