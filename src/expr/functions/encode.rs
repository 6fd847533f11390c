//! Encodings and digests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1_smol::Sha1;
use sha2::{Digest as _, Sha256};

use super::json;
use crate::expr::function::{Fails, Function, Prepared, Returns, Stop, Style, overload, p};
use crate::expr::run::Run;
use crate::expr::types::Kinds;
use crate::expr::value::{Val, View};
use crate::item::Value;

const S: Kinds = Kinds::S;
const B: Kinds = Kinds::B;
const TEXT: Returns = Returns::Kinds(Kinds::S);

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "base64.encode",
        style: Style::Global,
        overloads: &[overload(&[p(B)], TEXT)],
        about: "The bytes as base64, with padding.",
        examples: &[(r#"base64.encode(bytes("hi"))"#, r#""aGk=""#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| {
            let bytes = args[0].view().bytes().ok_or(Stop::Types)?;
            run.spend_bytes(bytes.len() * 2)?;
            Ok(Val::text(BASE64.encode(bytes)))
        },
    },
    Function {
        name: "base64.decode",
        style: Style::Global,
        overloads: &[overload(&[p(S)], Returns::Kinds(B))],
        about: "The bytes that a base64 text with padding encodes.",
        examples: &[(r#"utf8(base64.decode("aGk="))"#, r#""hi""#)],
        fails: Fails::Sometimes("the text is not base64"),
        constant: None,
        body: |run, args, _| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            run.spend_bytes(text.len())?;
            let bytes = BASE64.decode(text).map_err(|_| Stop::reason("the text is not base64"))?;
            Ok(Val::Own(Value::B(bytes)))
        },
    },
    Function {
        name: "sha256",
        style: Style::Global,
        overloads: &[overload(&[p(S.or(B))], TEXT)],
        about: "The SHA-256 digest of a text's UTF-8 bytes or of a binary value, in lower-case hexadecimal digits.",
        examples: &[(r#"sha256("abc")"#, r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| {
            let view = args[0].view();
            let bytes = view.text().map(str::as_bytes).or(view.bytes()).ok_or(Stop::Types)?;
            run.spend_bytes(bytes.len())?;
            Ok(Val::text(hexadecimal(&Sha256::digest(bytes))))
        },
    },
    Function {
        name: "uuid5",
        style: Style::Global,
        overloads: &[overload(&[p(S), p(S)], TEXT)],
        about: "The UUID (version 5) of a name in a namespace. The namespace is a UUID.",
        examples: &[(
            r#"uuid5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com")"#,
            r#""2ed6657d-e927-568b-95e1-2665a8aea6a2""#,
        )],
        fails: Fails::Sometimes("the namespace is not a UUID"),
        constant: None,
        body: uuid5,
    },
    Function {
        name: "json",
        style: Style::Global,
        overloads: &[overload(&[p(S)], Returns::Kinds(JSON))],
        about: "The value that a JSON text describes: S, N, BOOL, NULL, L or M. Numbers stay exact.",
        examples: &[(r#"json("{\"a\": [1.10, null]}").a"#, "[1.10, null]")],
        fails: Fails::Sometimes("the text is not JSON, or has a number or nesting that DynamoDB cannot store"),
        constant: None,
        body: |run, args, _| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            run.spend_bytes(text.len() * 8)?;
            json::parse(text).map(Val::Own).map_err(Stop::reason)
        },
    },
    Function {
        name: "toJson",
        style: Style::Global,
        overloads: &[overload(&[p(Kinds::STORED)], TEXT)],
        about: "The value as JSON text without spaces, with sorted keys. A set becomes a sorted array, and a binary value becomes base64.",
        examples: &[(r#"toJson({"b": [1.50, null], "a": "x"})"#, r#""{\"a\":\"x\",\"b\":[1.5,null]}""#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| {
            let mut text = String::new();
            json::write(run, args[0].view(), &mut text)?;
            Ok(Val::text(text))
        },
    },
];

const JSON: Kinds = Kinds::S.or(Kinds::N).or(Kinds::BOOL).or(Kinds::NULL).or(Kinds::L).or(Kinds::M);

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|d| char::from_digit(u32::from(d), 16)).collect()
}

fn uuid5<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let (View::S(namespace), View::S(name)) = (args[0].view(), args[1].view()) else { return Err(Stop::Types) };
    run.spend_bytes(name.len())?;
    let namespace = uuid_bytes(namespace).ok_or(Stop::reason("the namespace is not a UUID"))?;
    let mut digest = Sha1::from(namespace);
    digest.update(name.as_bytes());
    let mut bytes = digest.digest().bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x50;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hexadecimal(&bytes[..16]);
    Ok(Val::text([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")))
}

fn uuid_bytes(text: &str) -> Option<Vec<u8>> {
    let dashes = [8, 13, 18, 23];
    let at_dashes = text.len() == 36 && text.char_indices().all(|(at, c)| (c == '-') == dashes.contains(&at));
    if !at_dashes {
        return None;
    }
    let digits: Option<Vec<u32>> = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect();
    digits?.chunks(2).map(|pair| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok()).collect()
}
