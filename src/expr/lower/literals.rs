//! Literals. Numbers are read from the source, because the parser's numbers are 64 bits wide.

use std::ops::Range;

use cel::common::ast::LiteralValue;

use super::{Lower, constant};
use crate::expr::error::ExprError;
use crate::expr::node::Node;
use crate::item::{Num, Value};

impl Lower<'_, '_> {
    pub(super) fn literal(&mut self, literal: &LiteralValue, span: Range<usize>) -> Option<Node> {
        let value = match literal {
            LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
            LiteralValue::Bytes(value) => Value::B(value.inner().to_vec()),
            LiteralValue::Null => Value::Null,
            LiteralValue::String(value) => Value::S(value.inner().to_owned()),
            LiteralValue::Int(value) if self.parsed.text(&span).starts_with("0x") => {
                Value::N(Num::from_wire(value.inner().to_string()))
            }
            LiteralValue::Int(value) => return self.number(*value.inner() < 0, span),
            LiteralValue::Double(value) => return self.number(value.inner().is_sign_negative(), span),
            LiteralValue::UInt(_) => {
                let error = ExprError::new(span, "a number has no suffix", "has the suffix u");
                return self.error(error.help("there is only one number type: write the number without u"));
            }
        };
        Some(constant(span, value))
    }

    /// Reads the number at this place. The parser has read its sign.
    fn number(&mut self, negative: bool, span: Range<usize>) -> Option<Node> {
        let digits = self.parsed.text(&span);
        // DynamoDB's numbers have a digit before the point.
        let zero = if digits.starts_with('.') { "0" } else { "" };
        let sign = if negative { "-" } else { "" };
        match Num::parse(&format!("{sign}{zero}{digits}")) {
            Ok(num) => Some(constant(span, Value::N(num))),
            Err(error) => {
                let title = format!("DynamoDB cannot store this number: {error}");
                self.error(ExprError::new(span, title, "not a DynamoDB number"))
            }
        }
    }
}
