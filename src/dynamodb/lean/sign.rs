//! Signs requests with Signature Version 4. The signing key is derived once for each day and each set of credentials.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest as _, Sha256};

/// The content type of every request.
pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// The parts of a request that its signature covers.
pub(super) struct Unsigned<'r> {
    /// The `Host` header.
    pub(super) host: &'r str,
    /// The `x-amz-target` header.
    pub(super) target: &'r str,
    pub(super) body: &'r [u8],
}

/// The headers that sign a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// `x-amz-date`
    pub(super) date: String,
    /// `authorization`
    pub(super) authorization: String,
}

/// Signs requests for one region.
#[derive(Debug)]
pub(super) struct Signer {
    region: String,
    service: String,
    key: RwLock<Option<Arc<SigningKey>>>,
}

struct SigningKey {
    access_key: String,
    secret: String,
    /// The day as `YYYYMMDD`.
    day: String,
    /// The credential scope: day, region, service and `aws4_request`.
    scope: String,
    key: Vec<u8>,
}

/// Omits the secret and the signing key.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Signer {
    pub(super) fn new(region: &str, service: &str) -> Signer {
        Signer { region: region.to_owned(), service: service.to_owned(), key: RwLock::default() }
    }

    /// Signs a `POST` request for the root of the endpoint. `now` is the time of DynamoDB's clock.
    pub(super) fn sign(&self, request: &Unsigned<'_>, credentials: &Credentials, now: SystemTime) -> Signed {
        let date = date_text(now);
        let key = self.key(credentials, &date[..8], now);
        let (names, token) = match credentials.session_token() {
            Some(token) => (
                "content-length;content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
                format!("x-amz-security-token:{token}\n"),
            ),
            None => ("content-length;content-type;host;x-amz-date;x-amz-target", String::new()),
        };
        let canonical = format!(
            "POST\n/\n\ncontent-length:{}\ncontent-type:{CONTENT_TYPE}\nhost:{}\nx-amz-date:{date}\n{token}x-amz-target:{}\n\
             \n{names}\n{}",
            request.body.len(),
            request.host,
            request.target,
            sha256(request.body)
        );
        let string = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{}", key.scope, sha256(canonical.as_bytes()));
        let signature = calculate_signature(&key.key, string.as_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={signature}",
            key.access_key, key.scope
        );
        Signed { date, authorization }
    }

    /// Returns the signing key of this day. Derives it if the day or the credentials are new.
    fn key(&self, credentials: &Credentials, day: &str, now: SystemTime) -> Arc<SigningKey> {
        let (access_key, secret) = (credentials.access_key_id(), credentials.secret_access_key());
        let is_current = |key: &Arc<SigningKey>| key.day == day && key.access_key == access_key && key.secret == secret;
        let known = self.key.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(is_current) {
            return known;
        }
        let key = Arc::new(SigningKey {
            access_key: access_key.to_owned(),
            secret: secret.to_owned(),
            day: day.to_owned(),
            scope: format!("{day}/{}/{}/aws4_request", self.region, self.service),
            key: generate_signing_key(secret, now, &self.region, &self.service).as_ref().to_vec(),
        });
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&key));
        key
    }
}

fn sha256(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(bytes);
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Formats a time for a signature, as `YYYYMMDDTHHMMSSZ`.
fn date_text(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    use super::*;

    /// Signs a request with the general function of the official crate.
    fn reference(request: &Unsigned<'_>, credentials: &Credentials, now: SystemTime) -> Vec<(String, String)> {
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("dynamodb")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let length = request.body.len().to_string();
        let headers =
            [("content-length", length.as_str()), ("content-type", CONTENT_TYPE), ("x-amz-target", request.target)];
        let url = format!("https://{}/", request.host);
        let signable =
            SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(request.body)).unwrap();
        let (instructions, _) = sign(signable, &SigningParams::V4(params)).unwrap().into_parts();
        instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn signatures_are_those_of_the_official_crate(
            host in "[a-z0-9.-]{1,20}[a-z](:[1-9][0-9]{3})?",
            target in "[A-Za-z0-9_.]{1,40}",
            body in proptest::collection::vec(any::<u8>(), 0..200),
            secrets in proptest::collection::vec("[ -~]{1,40}", 1..3),
            token in proptest::option::of("[!-~]{1,60}"),
            seconds in proptest::collection::vec(0_u64..4_102_444_800, 1..4),
        ) {
            let signer = Signer::new("eu-west-1", "dynamodb");
            let request = Unsigned { host: &host, target: &target, body: &body };
            // Use the same signer on several days and with several credentials.
            for (seconds, secret) in seconds.iter().flat_map(|at| secrets.iter().map(move |secret| (at, secret))) {
                let now = UNIX_EPOCH + Duration::from_secs(*seconds);
                let credentials = Credentials::new("AKIDEXAMPLE", secret, token.clone(), None, "test");
                let signed = signer.sign(&request, &credentials, now);
                let expected = reference(&request, &credentials, now);
                let expected = |name: &str| expected.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
                prop_assert_eq!(Some(signed.date), expected("x-amz-date"));
                prop_assert_eq!(Some(signed.authorization), expected("authorization"));
                prop_assert_eq!(token.clone(), expected("x-amz-security-token"));
            }
        }
    }
}
