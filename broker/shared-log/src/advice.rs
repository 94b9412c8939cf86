//! What a person is told of a request that the store did not answer as it should: the store's own words on one
//! line, and what mends it.

use std::error::Error as _;

use object_store::Error as ObjectError;

/// The cause as far as the store's words tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NoCredentials,
    Credentials,
    Bucket,
    Region,
    Route,
    Other,
}

/// The store's own words, on one line: S3's XML becomes its code and message.
pub fn words(error: &ObjectError) -> String {
    let text = whole(error);
    // "… Error performing PUT URL in 3ms, after 2 retries, … - what went wrong"
    let text = match text.split_once("Error performing ") {
        Some((_, performed)) => match (performed.split_once(" in "), performed.split_once(" - ")) {
            (Some((request, _)), Some((_, outcome))) => format!("{request}: {outcome}"),
            _ => performed.to_owned(),
        },
        None => text,
    };
    let text = text.replace("Server returned non-2xx status code: ", "").replace("HTTP error: ", "");
    let plain = match (element(&text, "Code"), text.find('<')) {
        (Some(code), Some(start)) => {
            let message = element(&text, "Message").unwrap_or_default();
            format!("{}{code}: {message}", &text[..start])
        }
        _ => text,
    };
    plain.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches([':', ' ', '.']).to_owned()
}

/// What to do about it.
pub fn fix(error: &ObjectError) -> &'static str {
    match cause(error) {
        Cause::NoCredentials => {
            "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for \
             temporary ones), or start where a role gives them"
        }
        Cause::Credentials => {
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and that they may get, put, list \
             and delete under the store's prefix"
        }
        Cause::Bucket => "make the bucket, or correct its name in the store's URL",
        Cause::Region => "set AWS_REGION to the region of the bucket",
        Cause::Route => {
            "nothing answers there: check AWS_ENDPOINT_URL, and names, routes and firewalls in between"
        }
        Cause::Other => "check address, credentials, permissions and room of the store",
    }
}

/// Whether the same request may succeed a moment later.
pub(crate) fn may_pass(error: &ObjectError) -> bool {
    let cause = matches!(cause(error), Cause::Route | Cause::Other);
    // A client that repeats a refused put may meet its own.
    cause && matches!(error, ObjectError::Generic { .. } | ObjectError::AlreadyExists { .. })
}

/// What the error and everything below it says: "connection refused" stands at the very bottom.
fn whole(error: &ObjectError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        below = source.source();
    }
    text
}

fn cause(error: &ObjectError) -> Cause {
    let text = whole(error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["/latest/api/token", "/latest/meta-data", "/v2/credentials", "AssumeRole"]) {
        return Cause::NoCredentials;
    }
    if says(&["incorrectly configured region", "PermanentRedirect", "AuthorizationHeaderMalformed"]) {
        return Cause::Region;
    }
    match error {
        ObjectError::NotFound { .. } => Cause::Bucket,
        ObjectError::PermissionDenied { .. } | ObjectError::Unauthenticated { .. } => Cause::Credentials,
        _ if says(&["InvalidToken", "ExpiredToken", "InvalidAccessKeyId"]) => Cause::Credentials,
        _ if says(&["error sending request", "dns error", "tcp connect"]) => Cause::Route,
        _ => Cause::Other,
    }
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> ObjectError {
        ObjectError::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn an_answer_in_xml_becomes_one_line_with_code_and_message() {
        let source = "Error performing PUT http://127.0.0.1:1/b/k in 12.5ms - Server returned non-2xx status code: \
                      404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>The specified \
                      bucket does not exist</Message><RequestId>x</RequestId></Error>";
        let error = ObjectError::NotFound { path: "k".to_owned(), source: source.to_owned().into() };
        let told =
            "PUT http://127.0.0.1:1/b/k: 404 Not Found: NoSuchBucket: The specified bucket does not exist";
        assert_eq!(words(&error), told);
        assert!(fix(&error).contains("make the bucket"));
        assert!(!may_pass(&error));
    }

    #[test]
    fn each_cause_has_its_fix() {
        let metadata =
            generic("Error performing PUT http://169.254.169.254/latest/api/token in 1ms - refused");
        assert!(fix(&metadata).contains("set AWS_ACCESS_KEY_ID"));
        let region = generic(
            "Received redirect without LOCATION, this normally indicates an incorrectly configured region",
        );
        assert!(fix(&region).contains("AWS_REGION"));
        assert!(!may_pass(&region));
        let refused = generic(
            "HTTP error: error sending request: tcp connect error: Connection refused (os error 111)",
        );
        assert!(fix(&refused).contains("AWS_ENDPOINT_URL"));
        assert!(may_pass(&refused));
        let busy = generic("Server returned non-2xx status code: 503 Service Unavailable: SlowDown");
        assert!(fix(&busy).contains("permissions and room") && may_pass(&busy));
    }
}
