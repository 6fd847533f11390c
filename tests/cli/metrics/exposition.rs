//! Parses an exposition without the libraries that the tool uses.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The samples of an exposition. The key is a sample's name with its labels in alphabetical order:
/// `backfill_items_total{outcome="applied"}`.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) values: BTreeMap<String, f64>,
    /// The text of the exposition.
    pub(crate) text: String,
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends one request over a real connection, with these header lines.
pub(crate) async fn get_with(address: &str, path: &str, headers: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.ok()?;
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().unwrap();
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// Sends one request. Returns `None` if the endpoint does not exist, or no longer exists.
pub(crate) async fn get(address: &str, path: &str) -> Option<Answer> {
    get_with(address, path, &format!("Host: {address}\r\n")).await
}

/// Reads `/metrics`.
pub(crate) async fn scrape(address: &str) -> Option<Samples> {
    let answer = get(address, "/metrics").await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    Some(Samples::parse(&answer.body))
}

impl Samples {
    /// Reads the text. Panics if a line is not a sample, or if a sample occurs twice.
    pub(crate) fn parse(text: &str) -> Samples {
        let mut values = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let sample = match sample.split_once('{') {
                Some((name, labels)) => sorted(name, labels.strip_suffix('}').unwrap()),
                None => sample.to_owned(),
            };
            let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
            assert!(values.insert(sample, value).is_none(), "twice: {line:?}");
        }
        Samples { values, text: text.to_owned() }
    }

    /// Returns the value of a sample.
    #[track_caller]
    pub(crate) fn of(&self, sample: &str) -> f64 {
        self.find(sample).unwrap_or_else(|| panic!("no {sample} in {}", self.text))
    }

    pub(crate) fn find(&self, sample: &str) -> Option<f64> {
        self.values.get(sample).copied()
    }

    /// Returns the samples with this name.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let is_named =
            move |sample: &str| sample == name || sample.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
        self.values.iter().filter(move |(sample, _)| is_named(sample)).map(|(sample, value)| (sample.as_str(), *value))
    }

    /// Returns the sum of the samples with this name and with this text in their labels.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        self.named(name).filter(|(sample, _)| sample.contains(label)).map(|(_, value)| value).sum()
    }
}

/// Sorts the labels. The values in the tests contain no commas.
fn sorted(name: &str, labels: &str) -> String {
    let mut labels: Vec<&str> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}
