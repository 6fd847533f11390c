//! Conversions between types.

use crate::expr::decimal;
use crate::expr::function::{Fails, Form, Function, Prepared, Returns, Stop, Style, overload, p};
use crate::expr::functions::times::duration_text;
use crate::expr::run::Run;
use crate::expr::types::Kinds;
use crate::expr::value::{Val, View};
use crate::item::Value;

const TEXT: Returns = Returns::Kinds(Kinds::S);

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "string",
        style: Style::Global,
        overloads: &[overload(
            &[p(Kinds::S.or(Kinds::N).or(Kinds::BOOL).or(Kinds::TIMESTAMP).or(Kinds::DURATION))],
            TEXT,
        )],
        about: "The value as a text. A number has no exponent and no unnecessary zeros. A time is in RFC 3339 format, in UTC.",
        examples: &[
            ("string(1.50)", r#""1.5""#),
            ("string(true)", r#""true""#),
            (r#"string(timestamp("2025-01-31T00:00:00Z"))"#, r#""2025-01-31T00:00:00Z""#),
        ],
        fails: Fails::Never,
        constant: None,
        body: string,
    },
    Function {
        name: "bytes",
        style: Style::Global,
        overloads: &[overload(&[p(Kinds::S)], Returns::Kinds(Kinds::B))],
        about: "The UTF-8 bytes of a text, as a binary value (B).",
        examples: &[(r#"bytes("abc")"#, r#"base64.decode("YWJj")"#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            run.spend_bytes(text.len())?;
            Ok(Val::Own(Value::B(text.as_bytes().to_vec())))
        },
    },
    Function {
        name: "utf8",
        style: Style::Global,
        overloads: &[overload(&[p(Kinds::B)], TEXT)],
        about: "The text whose UTF-8 bytes are this binary value.",
        examples: &[(r#"utf8(bytes("abc"))"#, r#""abc""#)],
        fails: Fails::Sometimes("the bytes are not UTF-8"),
        constant: None,
        body: |run, args, _| {
            let bytes = args[0].view().bytes().ok_or(Stop::Types)?;
            run.spend_bytes(bytes.len())?;
            std::str::from_utf8(bytes).map(Val::text).map_err(|_| Stop::reason("the bytes are not UTF-8"))
        },
    },
    Function {
        name: "bool",
        style: Style::Global,
        overloads: &[overload(&[p(Kinds::S)], Returns::Kinds(Kinds::BOOL))],
        about: "The boolean for the text `true` or `false`.",
        examples: &[(r#"bool("false")"#, "false")],
        fails: Fails::Unless(is_bool, "the text is neither `true` nor `false`"),
        constant: None,
        body: |_, args, _| match args[0].view().text().ok_or(Stop::Types)? {
            "true" => Ok(Val::Bool(true)),
            "false" => Ok(Val::Bool(false)),
            _ => Err(Stop::reason("the text is neither `true` nor `false`")),
        },
    },
];

fn is_bool(args: &[Form<'_>]) -> bool {
    let [Form::Const(text)] = args else { return false };
    matches!(text.text(), Some("true" | "false"))
}

fn string<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    match args[0].view() {
        View::S(_) => Ok(args[0].clone()),
        View::N(number) => {
            run.spend(4)?;
            let number = number.get().ok_or(Stop::reason("the stored text is not a number"))?;
            Ok(Val::text(decimal::text(&number)))
        }
        View::Bool(value) => Ok(Val::text(value.to_string())),
        View::Timestamp(time) => Ok(Val::text(time.to_string())),
        View::Duration(span) => Ok(Val::text(duration_text(span))),
        View::B(_) | View::Null | View::Ss(_) | View::Ns(_) | View::Bs(_) | View::L(_) | View::M(_) => Err(Stop::Types),
    }
}
