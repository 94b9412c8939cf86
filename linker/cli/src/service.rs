//! Talking to the linking service: where it is, who asks, and what it answers.

use std::time::Duration;

use clap::Args;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use towpath_linker::config::resolve_secret;
use towpath_linker::http::body::{self, Problem};
use towpath_linker::operation::exit;

use crate::failure::Failure;
use crate::output::Output;

/// How long the service may take to answer; what takes longer runs as an operation.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a connection may take to open.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A line of an event stream longer than this is no operation.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// What every verb that talks to the service takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Service")]
pub struct Talk {
    /// Address of the linking service
    #[arg(long, value_name = "URL", env = "TOWPATH_SERVICE", default_value = "http://127.0.0.1:8088")]
    pub service: String,
    /// Where the bearer token stands: env:NAME or file:PATH [default: env:TOWPATH_TOKEN, if set]
    #[arg(long, value_name = "REFERENCE")]
    pub token: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

impl Talk {
    /// Where the results of `verb` go.
    pub fn output(&self, verb: &str) -> Output {
        Output::new(verb, self.json)
    }

    /// A client of the service. Does not connect yet.
    ///
    /// # Errors
    /// The URL or the token's reference is wrong.
    pub fn api(&self) -> Result<Api, Failure> {
        let example = "for example --service http://127.0.0.1:8088";
        let base: Url = self.service.parse().map_err(|error| {
            Failure::caller(format!("--service {}: not a URL ({error})", self.service), example)
        })?;
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(Failure::caller(format!("--service {}: not an http URL", self.service), example));
        }
        let token = match &self.token {
            Some(reference) => Some(resolve_secret(reference)?),
            None => std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
        };
        // Without a provider of TLS the client cannot be built; a second installation is refused and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("towpath/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| Failure::told("bug", &format!("HTTP client: {error}"), exit::FAILED))?;
        Ok(Api { base, http, token })
    }
}

/// Holds the bearer token when `--token` is not given.
const TOKEN_VARIABLE: &str = "TOWPATH_TOKEN";

/// What every verb that changes something takes besides.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// Why; stands in journal and evidence
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Say what would be done, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Asked {
    /// What the service records. Without a token it believes the name.
    pub fn request(&self) -> body::Asked {
        asked(&self.reason, self.dry_run)
    }
}

/// What the service records of somebody who asks, by the name that this machine knows them by.
pub fn asked(reason: &str, dry_run: bool) -> body::Asked {
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let actor = name.unwrap_or_else(|| "unknown".into());
    body::Asked { actor, reason: reason.into(), dry_run, ..body::Asked::default() }
}

/// A client of the service's API.
#[derive(Clone, Debug)]
pub struct Api {
    base: Url,
    http: reqwest::Client,
    token: Option<String>,
}

/// Where a family's part of the API is: `["v1", "families", FAMILY, part]`.
pub fn of_family<'a>(family: &'a str, part: &'a str) -> Vec<&'a str> {
    ["v1", "families", family].into_iter().chain(part.split('/')).collect()
}

impl Api {
    /// What stands at `path`.
    ///
    /// # Errors
    /// The service cannot be reached, or refuses.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        let request = self.request(Method::GET, path).query(query).timeout(ANSWER_MAX);
        decoded(self.answer(request).await?).await
    }

    /// The text at `path`: a bundle, a report.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn text(&self, path: &[&str]) -> Result<String, Failure> {
        let answer = self.answer(self.request(Method::GET, path)).await?;
        answer.text().await.map_err(|error| cut_short(&error))
    }

    /// Asks for something that may change the estate.
    ///
    /// # Errors
    /// As [`Api::get`]; when the service may have heard it, the exit code says that the outcome is not known.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let request = self.request(Method::POST, path).json(body).timeout(ANSWER_MAX);
        let answer = self.answer(request).await?;
        decoded(answer).await.map_err(|failure| Failure { exit_code: exit::UNKNOWN, ..failure })
    }

    /// The lines at `path`, as they come.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn lines(&self, path: &[&str]) -> Result<Lines, Failure> {
        let answer = self.answer(self.request(Method::GET, path)).await?;
        Ok(Lines { answer, rest: Vec::new() })
    }

    fn request(&self, method: Method, path: &[&str]) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        Err(refusal(status, &text))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let base = &self.base;
        if error.is_connect() {
            return Failure {
                kind: "service".into(),
                message: format!("no linking service answers at {base}"),
                fix: Some(
                    "start it with `towpath serve --config FILE`, or name it with --service URL".into(),
                ),
                exit_code: exit::FAILED,
            };
        }
        let cause = root_cause(error);
        Failure {
            kind: "service".into(),
            message: format!("{base} did not answer: {cause}; whether it acted is not known"),
            fix: Some("see `towpath status`, then repeat the verb: repeating is safe".into()),
            exit_code: exit::UNKNOWN,
        }
    }
}

/// A stream of lines, each a JSON document; blank lines only keep the connection alive.
pub struct Lines {
    answer: Response,
    rest: Vec<u8>,
}

impl Lines {
    /// The next document; `None`: the service has ended the stream.
    ///
    /// # Errors
    /// The connection was lost, or the line is not what was expected.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        loop {
            while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if line.len() > 1 {
                    return Ok(Some(serde_json::from_slice(&line).map_err(|error| not_understood(&error))?));
                }
            }
            match self.answer.chunk().await.map_err(|error| cut_short(&error))? {
                Some(chunk) if self.rest.len() + chunk.len() <= EVENT_BYTES_MAX => {
                    self.rest.extend_from_slice(&chunk);
                }
                Some(_) => return Err(not_understood(&"a line is too long")),
                None => return Ok(None),
            }
        }
    }
}

async fn decoded<T: DeserializeOwned>(answer: Response) -> Result<T, Failure> {
    let bytes = answer.bytes().await.map_err(|error| cut_short(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| not_understood(&error))
}

/// What the service refused, in its own words where it is Towpath's.
fn refusal(status: StatusCode, text: &str) -> Failure {
    let exit_code = if status == StatusCode::INTERNAL_SERVER_ERROR { exit::UNKNOWN } else { exit::FAILED };
    let problem = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|document| serde_json::from_value::<Problem>(document.get("error")?.clone()).ok());
    match problem {
        Some(Problem { kind, message, fix: None, .. }) => Failure::told(&kind, &message, exit_code),
        Some(Problem { kind, message, fix, .. }) => Failure { kind, message, fix, exit_code },
        None => Failure {
            kind: "service".into(),
            message: format!("answered {status}, and not as a linking service does"),
            fix: Some("check --service: something else listens there".into()),
            exit_code,
        },
    }
}

fn cut_short(error: &reqwest::Error) -> Failure {
    Failure {
        kind: "service".into(),
        message: format!("the connection to the service was lost: {}", root_cause(error)),
        fix: Some("see `towpath status`; what was begun goes on in the service".into()),
        exit_code: exit::UNKNOWN,
    }
}

fn not_understood(error: &dyn std::fmt::Display) -> Failure {
    Failure {
        kind: "service".into(),
        message: format!("the service's answer is not understood: {error}"),
        fix: Some("use the same version of towpath on both sides".into()),
        exit_code: exit::FAILED,
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_refused_is_told_in_its_words() {
        let text = r#"{"schema":"towpath/error/v1","error":{"kind":"caller","message":"no","fix":"yes"}}"#;
        let failure = refusal(StatusCode::CONFLICT, text);
        assert_eq!((failure.message.as_str(), failure.fix.as_deref()), ("no", Some("yes")));
        assert_eq!(failure.exit_code, exit::FAILED);
    }

    #[test]
    fn an_answer_of_something_else_is_told_as_such() {
        let failure = refusal(StatusCode::NOT_FOUND, "<html>");
        assert!(failure.to_string().contains("something else listens"), "{failure}");
    }

    #[test]
    fn a_name_with_a_slash_stays_one_part_of_the_path() {
        let talk = Talk { service: "http://127.0.0.1:1/base".into(), token: None, json: false };
        let request = talk.api().unwrap().request(Method::GET, &of_family("a/b", "evidence/bundle"));
        let url = request.build().unwrap().url().to_string();
        assert_eq!(url, "http://127.0.0.1:1/base/v1/families/a%2Fb/evidence/bundle");
    }

    #[test]
    fn a_service_that_is_no_url_says_what_one_looks_like() {
        let talk = Talk { service: "127.0.0.1:8088".into(), token: None, json: false };
        assert!(talk.api().unwrap_err().to_string().contains("http://127.0.0.1:8088"));
    }
}
