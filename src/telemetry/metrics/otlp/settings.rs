//! Reads the destination of the metrics from the option `--otlp` and from the environment variables of the
//! OpenTelemetry specification ("OTLP Exporter Configuration Options"). The errors and the `Debug` form contain no
//! address and no header, because both can contain a secret.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use crate::web::{Address, AddressError};

/// The path that is added to a base address.
const PATH: &str = "/v1/metrics";

/// The default time between two requests, and the minimum and maximum of this time.
const EVERY: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// The default time limit for an answer, and the longest allowed time limit.
const LIMIT: Duration = Duration::from_secs(10);
const LONGEST_LIMIT: Duration = Duration::from_secs(60);

/// The destination of the metrics, and the interval at which they are sent.
#[derive(Debug)]
pub struct OtlpSettings {
    pub(super) address: Address,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) limit: Duration,
    pub(super) every: Duration,
    /// Attributes of all metrics.
    pub(super) resource: Vec<(String, String)>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// The address cannot be used.
    #[error("{name} is not the address of an OpenTelemetry collector: {error}")]
    Address {
        /// The option or the variable.
        name: &'static str,
        /// Why.
        error: AddressError,
    },
    /// A variable cannot be read.
    #[error("the environment variable {name} cannot be used: {why}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Why.
        why: &'static str,
    },
}

impl OtlpSettings {
    /// Reads the settings. `option` is the address from the command line, and `variable` returns the value of an
    /// environment variable. Returns `None` if neither names a collector, or if `OTEL_SDK_DISABLED` or
    /// `OTEL_METRICS_EXPORTER` turns the environment's collector off.
    ///
    /// # Errors
    ///
    /// Fails if a setting cannot be used.
    pub fn read(
        option: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<OtlpSettings>, OtlpError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let of_metrics = |name: &'static str, general: &'static str| {
            variable(name).map(|value| (name, value)).or_else(|| variable(general).map(|value| (general, value)))
        };
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_METRICS_EXPORTER")
                .is_some_and(|exporter| !exporter.split(',').any(|e| e.trim() == "otlp"));
        const METRICS: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
        const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let found = match option {
            Some(base) => Some(("--otlp", with_path(base))),
            None if is_off => None,
            None => of_metrics(METRICS, GENERAL)
                .map(|(name, url)| if name == METRICS { (name, url) } else { (name, with_path(&url)) }),
        };
        let Some((name, url)) = found else { return Ok(None) };
        let address = Address::new(url.trim()).map_err(|error| OtlpError::Address { name, error })?;
        let headers = of_metrics("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
        let headers = headers.map_or_else(|| Ok(Vec::new()), |(name, value)| parse_headers(name, &value))?;
        let limit = of_metrics("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let limit = limit.map_or(Ok(LIMIT), |(name, value)| milliseconds(name, &value))?;
        let interval = "OTEL_METRIC_EXPORT_INTERVAL";
        let every = variable(interval).map_or(Ok(EVERY), |value| milliseconds(interval, &value))?;
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let mut resource = variable(name).map_or_else(|| Ok(Vec::new()), |value| pairs(name, &value))?;
        if let Some(service) = variable("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), service));
        }
        let every = every.clamp(SHORTEST, LONGEST);
        let limit = limit.clamp(SHORTEST, LONGEST_LIMIT);
        Ok(Some(OtlpSettings { address, headers, limit, every, resource }))
    }

    /// Returns the time between two requests.
    pub fn every(&self) -> Duration {
        self.every
    }
}

/// Adds the path for metrics to a base address, unless the address already has it.
fn with_path(base: &str) -> String {
    let base = base.trim();
    let (address, query) = base.split_at(base.find('?').unwrap_or(base.len()));
    let address = address.trim_end_matches('/');
    let path = if address.ends_with(PATH) { "" } else { PATH };
    format!("{address}{path}{query}")
}

fn milliseconds(name: &'static str, value: &str) -> Result<Duration, OtlpError> {
    let why = "it must be a number of milliseconds";
    value.trim().parse().map(Duration::from_millis).map_err(|_| OtlpError::Variable { name, why })
}

fn parse_headers(name: &'static str, value: &str) -> Result<Vec<(HeaderName, HeaderValue)>, OtlpError> {
    let wrong = || OtlpError::Variable { name, why: "it contains something that is not an HTTP header" };
    let header = |(key, value): (String, String)| {
        let key = HeaderName::from_bytes(key.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((key, value))
    };
    pairs(name, value)?.into_iter().map(header).collect()
}

/// Reads `key=value,key=value`. Values are percent-encoded, as in the W3C's baggage.
fn pairs(name: &'static str, text: &str) -> Result<Vec<(String, String)>, OtlpError> {
    let wrong = || OtlpError::Variable { name, why: "write key=value pairs, with commas between them" };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        let value = percent_decoded(value.trim()).ok_or_else(wrong)?;
        Ok((key.trim().to_owned(), value))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(high)? * 16 + digit(low)?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(option: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<OtlpSettings>, OtlpError> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        OtlpSettings::read(option, &value)
    }

    #[test]
    fn the_option_takes_precedence_and_the_environment_is_obeyed() {
        assert!(read(None, &[]).unwrap().is_none());
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")];
        assert!(read(None, &environment).unwrap().is_some());
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")] {
            assert!(read(None, &[environment[0], off]).unwrap().is_none(), "{off:?}");
            assert!(read(Some("http://localhost:4318"), &[off]).unwrap().is_some(), "the option was given by hand");
        }
        let settings = read(
            Some("http://localhost:4318"),
            &[
                ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "999999999"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20ecret, other=2"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,deployment.environment=prod"),
                ("OTEL_SERVICE_NAME", "orders"),
            ],
        );
        let settings = settings.unwrap().unwrap();
        assert_eq!((settings.every, settings.limit), (Duration::from_secs(5), LONGEST_LIMIT));
        assert_eq!(settings.headers[0].1, "s ecret");
        let resource: Vec<_> = settings.resource.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(resource, [("deployment.environment", "prod"), ("service.name", "orders")]);
        assert!(!format!("{settings:?}").contains("ecret"), "{settings:?}");
    }

    #[test]
    fn the_path_is_added_once() {
        for (base, url) in [
            ("http://c:4318", "http://c:4318/v1/metrics"),
            ("http://c:4318/", "http://c:4318/v1/metrics"),
            ("http://c/otlp/v1/metrics", "http://c/otlp/v1/metrics"),
            ("https://c/otlp?token=a", "https://c/otlp/v1/metrics?token=a"),
        ] {
            assert_eq!(with_path(base), url);
        }
    }

    #[test]
    fn an_error_names_the_setting_and_no_secret() {
        for (option, variables, name) in [
            (Some("secret"), [("A", "")], "--otlp"),
            (None, [("OTEL_EXPORTER_OTLP_ENDPOINT", "secret")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
            (Some("http://c"), [("OTEL_EXPORTER_OTLP_HEADERS", "secret")], "OTEL_EXPORTER_OTLP_HEADERS"),
            (Some("http://c"), [("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%zz")], "OTEL_EXPORTER_OTLP_HEADERS"),
            (Some("http://c"), [("OTEL_EXPORTER_OTLP_TIMEOUT", "secret")], "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ] {
            let error = read(option, &variables).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }
}
