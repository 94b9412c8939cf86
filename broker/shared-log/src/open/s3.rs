//! A client for S3 and what speaks like it, made from the usual environment.

use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use crate::StoreError;

/// No connection to the store takes longer to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// No single request, body included, takes longer: a 64 MiB segment at 2 MiB/s just fits. What is small, or what an
/// acknowledgement waits for, is given less by who asks for it: the shared log, the write-ahead log, the probe.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(32);
/// The client's own repetitions of refused requests (503, 429). Few: the callers repeat with their own bounds and
/// resolve unknown outcomes, which the client cannot.
const CLIENT_RETRIES: usize = 2;
/// No client repetition begins later than this.
const CLIENT_RETRY_TIMEOUT: Duration = Duration::from_secs(5);

/// The client of `bucket`. Sends nothing yet.
pub(super) fn client(
    url: &str,
    bucket: &str,
    environment: &[(String, String)],
) -> Result<AmazonS3, StoreError> {
    let built = builder(bucket, environment)?.build();
    built.map_err(|source| StoreError::Client { url: url.to_owned(), source })
}

fn builder(bucket: &str, environment: &[(String, String)]) -> Result<AmazonS3Builder, StoreError> {
    // The HTTP client is built without a TLS provider of its own. Who installed one first keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new();
    let mut endpoints = Vec::new();
    for (name, value) in environment {
        let lower = name.to_ascii_lowercase();
        if !lower.starts_with("aws_") || value.is_empty() {
            continue;
        }
        let Ok(key) = lower.parse::<AmazonS3ConfigKey>() else { continue };
        if matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint) {
            endpoints.push((key, endpoint(name, value)?));
        } else {
            builder = builder.with_config(key, value);
        }
    }
    let virtual_hosted = builder.get_config_value(&AmazonS3ConfigKey::VirtualHostedStyleRequest);
    let virtual_hosted = virtual_hosted.is_some_and(|set| ["true", "1"].contains(&set.as_str()));
    let plain_http = endpoints.iter().any(|(_, endpoint)| endpoint.scheme() == "http");
    for (key, endpoint) in endpoints {
        let endpoint = if virtual_hosted { hosted(endpoint, bucket) } else { endpoint };
        builder = builder.with_config(key, endpoint.as_str().trim_end_matches('/'));
    }
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
        .with_allow_http(plain_http);
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    };
    let retry = RetryConfig { backoff, max_retries: CLIENT_RETRIES, retry_timeout: CLIENT_RETRY_TIMEOUT };
    Ok(builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry))
}

/// An endpoint without a scheme would make the client panic at its first request.
fn endpoint(name: &str, value: &str) -> Result<Url, StoreError> {
    let parsed = Url::parse(value).ok();
    let usable = |url: &Url| ["http", "https"].contains(&url.scheme()) && url.has_host();
    parsed
        .filter(usable)
        .ok_or_else(|| StoreError::Endpoint { name: name.to_owned(), value: value.to_owned() })
}

/// The client wants the bucket in the endpoint's host; people name the store's own, as for other tools.
fn hosted(mut endpoint: Url, bucket: &str) -> Url {
    let host = endpoint.host_str().unwrap_or_default();
    if !host.starts_with(&format!("{bucket}.")) {
        let named = format!("{bucket}.{host}");
        // A bucket's name is a part of a host name, or the store refuses it by itself.
        let _ = endpoint.set_host(Some(&named));
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(environment: &[(&str, &str)], key: AmazonS3ConfigKey) -> Option<String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let builder = builder("bucket", &environment.collect::<Vec<_>>()).unwrap();
        let value = builder.get_config_value(&key);
        builder.build().unwrap();
        value
    }

    const KEYS: [(&str, &str); 3] =
        [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("HOME", "/")];

    #[test]
    fn region_endpoint_style_and_credentials_come_from_the_usual_environment() {
        let more = [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            ("AWS_SESSION_TOKEN", "token"),
        ];
        let all = [&KEYS[..], &more].concat();
        assert_eq!(value(&all, AmazonS3ConfigKey::Region).as_deref(), Some("eu-central-1"));
        assert_eq!(value(&all, AmazonS3ConfigKey::Endpoint).as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(value(&all, AmazonS3ConfigKey::Token).as_deref(), Some("token"));
        assert_eq!(value(&all, AmazonS3ConfigKey::AccessKeyId).as_deref(), Some("key"));
        assert_eq!(value(&all, AmazonS3ConfigKey::VirtualHostedStyleRequest).as_deref(), Some("false"));
    }

    #[test]
    fn a_virtual_hosted_style_puts_the_bucket_into_the_host_once() {
        let style = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        for (given, host) in [
            ("https://s3.example:9000", "https://bucket.s3.example:9000"),
            ("https://bucket.s3.example", "https://bucket.s3.example"),
        ] {
            let all = [&KEYS[..], &[style, ("AWS_ENDPOINT_URL_S3", given)]].concat();
            assert_eq!(value(&all, AmazonS3ConfigKey::S3Endpoint).as_deref(), Some(host));
        }
    }

    #[test]
    fn plain_http_is_spoken_only_to_an_endpoint_that_says_so() {
        let told = |endpoint: &str| {
            let all = [&KEYS[..], &[("AWS_ENDPOINT_URL", endpoint), ("AWS_ALLOW_HTTP", "true")]].concat();
            let key = "aws_allow_http".parse().unwrap();
            value(&all, key)
        };
        assert_eq!(told("http://127.0.0.1:9").as_deref(), Some("true"));
        assert_eq!(told("https://127.0.0.1:9").as_deref(), Some("false"));
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_refused_and_told_how_one_looks() {
        for text in ["127.0.0.1:9000", "localhost:9000", "s3.example", "http://"] {
            let environment = [("AWS_ENDPOINT_URL".to_owned(), text.to_owned())];
            let error = builder("bucket", &environment).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Caller);
            assert!(
                error.to_string().contains("AWS_ENDPOINT_URL")
                    && error.to_string().contains("http://HOST:PORT")
            );
        }
    }
}
