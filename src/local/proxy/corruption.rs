//! Makes replies unusable, as a faulty load balancer or a broken connection would.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value as Json;

/// A defect that makes a reply unusable. The request itself was forwarded and applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Corruption {
    /// Status 200 and no body.
    NoBody,
    /// Status 200 and this body, such as `{}` or `null`. The body is not a valid reply to the request.
    Body(&'static str),
    /// Status 200 and a page of HTML.
    Html,
    /// The first half of the body, with headers that match the shorter body.
    Truncated,
    /// The original body with a wrong `x-amz-crc32`.
    WrongChecksum,
    /// The body without the member at this JSON pointer, such as `/Table/KeySchema`.
    MissingMember(&'static str),
    /// The body with a changed value at this JSON pointer.
    ChangedMember(&'static str, Json),
}

/// Returns the reply with this defect.
pub(super) async fn corrupt(reply: Response<Full<Bytes>>, corruption: &Corruption) -> Response<Full<Bytes>> {
    let (mut head, body) = reply.into_parts();
    // Collecting a body that is in memory cannot fail.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let html = matches!(corruption, Corruption::Html);
    if html || matches!(corruption, Corruption::NoBody | Corruption::Body(_)) {
        head.status = StatusCode::OK;
    }
    let corrupted: Bytes = match corruption {
        Corruption::NoBody => Bytes::new(),
        Corruption::Body(text) => Bytes::from_static(text.as_bytes()),
        Corruption::Html => Bytes::from_static(b"<html><body>Please log in to the network</body></html>"),
        Corruption::Truncated => body.slice(..body.len() / 2),
        Corruption::WrongChecksum => body,
        Corruption::MissingMember(pointer) => changed(&body, pointer, None),
        Corruption::ChangedMember(pointer, value) => changed(&body, pointer, Some(value)),
    };
    // Remove the checksum. Otherwise the client would notice the defect without examining the body.
    head.headers.remove("x-amz-crc32");
    if *corruption == Corruption::WrongChecksum {
        head.headers.insert("x-amz-crc32", HeaderValue::from_static("1"));
    }
    if html {
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    }
    Response::from_parts(head, Full::new(corrupted))
}

/// Returns the body with a changed value at a JSON pointer, or without the member at that pointer.
fn changed(body: &Bytes, pointer: &str, value: Option<&Json>) -> Bytes {
    let Ok(mut reply) = serde_json::from_slice::<Json>(body) else { return body.clone() };
    let (parent, member) = pointer.rsplit_once('/').unwrap_or_default();
    if let Some(parent) = reply.pointer_mut(parent).and_then(Json::as_object_mut) {
        match value {
            Some(value) => drop(parent.insert(member.to_owned(), value.clone())),
            None => drop(parent.remove(member)),
        }
    }
    reply.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_member_changes() {
        let body = Bytes::from_static(br#"{"Table":{"TableName":"t","KeySchema":[]},"Count":2}"#);
        let json = |bytes: Bytes| serde_json::from_slice::<Json>(&bytes).unwrap();
        assert_eq!(
            json(changed(&body, "/Table/KeySchema", None)),
            serde_json::json!({"Table": {"TableName": "t"}, "Count": 2})
        );
        let more = json(changed(&body, "/Count", Some(&7.into())));
        assert_eq!((&more["Count"], &more["Table"]["TableName"]), (&7.into(), &"t".into()));
        assert_eq!(changed(&Bytes::from_static(b"<html>"), "/Count", None), "<html>");
    }
}
