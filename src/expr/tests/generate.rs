//! Random expressions and items. A seed always generates the same ones.

use crate::item::{Item, Num, Value};

/// A small generator of random numbers (splitmix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The attributes of random items.
pub(super) const NAMES: [&str; 6] = ["a", "b", "c", "d", "m", "e f"];

const TEXTS: [&str; 8] = ["", "a", "b", "ab", "ä", "1", "a#b", "2025-01-31T00:00:00Z"];
const NUMBERS: [&str; 9] =
    ["0", "1", "-1", "2.5", "0.1", "7", "1E+37", "99999999999999999999999999999999999999", "1E-130"];

/// Makes an item. Each attribute is missing in a fifth of the items.
pub(super) fn item(random: &mut Random) -> Item {
    let mut item = Item::new();
    for name in NAMES {
        if !random.chance(20) {
            item.insert(name.to_owned(), value(random, 2));
        }
    }
    item
}

/// Makes a value of any type.
pub(super) fn value(random: &mut Random, depth: usize) -> Value {
    let text = |random: &mut Random| random.one(&TEXTS).to_owned();
    let number = |random: &mut Random| Num::parse(random.one(&NUMBERS)).unwrap();
    match random.below(if depth == 0 { 8 } else { 13 }) {
        0 | 1 => Value::S(text(random)),
        2 | 3 => Value::N(number(random)),
        4 => Value::B(text(random).into_bytes()),
        5 => Value::Bool(random.chance(50)),
        6 => Value::Null,
        7 => match random.below(3) {
            0 => Value::Ss(vec!["b".to_owned(), "a".to_owned()]),
            1 => Value::Ns(vec![Num::parse("10").unwrap(), Num::parse("9").unwrap(), Num::parse("1.0").unwrap()]),
            _ => Value::Bs(vec![vec![2], vec![1, 0]]),
        },
        8 | 9 => {
            let length = random.below(4);
            let same = random.below(3);
            Value::L(
                (0..length)
                    .map(|_| match same {
                        0 => Value::S(text(random)),
                        1 => Value::N(number(random)),
                        _ => value(random, depth - 1),
                    })
                    .collect(),
            )
        }
        _ => {
            let mut map = Item::new();
            for key in ["k", "l", "a b"] {
                if random.chance(70) {
                    map.insert(key.to_owned(), value(random, depth - 1));
                }
            }
            Value::M(map)
        }
    }
}

/// Generates the source texts of expressions.
pub(super) struct Sources<'r> {
    random: &'r mut Random,
    /// Paths that were tested, with their types.
    tested: Vec<(String, &'static str)>,
    variables: Vec<String>,
    /// How often a path is used without a test, in percent.
    pub(super) careless: usize,
}

impl<'r> Sources<'r> {
    pub(super) fn new(random: &'r mut Random, careless: usize) -> Sources<'r> {
        Sources { random, tested: Vec::new(), variables: Vec::new(), careless }
    }

    /// Makes any path.
    fn path(&mut self) -> String {
        let mut path = match self.random.below(10) {
            0..=2 if !self.variables.is_empty() => self.variables[self.random.below(self.variables.len())].clone(),
            0 => "item[\"e f\"]".to_owned(),
            1 | 2 => "item.m".to_owned(),
            _ => format!("item.{}", self.random.one(&["a", "b", "c", "d"])),
        };
        for _ in 0..self.random.below(3) {
            if self.random.chance(40) {
                path += self.random.one(&[".k", ".l", "[\"a b\"]", "[0]", ".`a b`"]);
            }
        }
        path
    }

    /// Generates a path of this type: a tested path or, in `careless` percent of all cases, any path.
    fn typed(&mut self, kind: &str) -> Option<String> {
        if self.random.chance(self.careless) {
            return Some(self.path());
        }
        let fitting: Vec<String> =
            self.tested.iter().filter(|(_, known)| *known == kind).map(|(path, _)| path.clone()).collect();
        (!fitting.is_empty()).then(|| fitting[self.random.below(fitting.len())].clone())
    }

    /// Generates a test of a path's type, and a text that is evaluated only if the test is true.
    fn guarded(&mut self, f: impl FnOnce(&mut Self) -> String) -> (String, String) {
        let path = self.path();
        let kind = self.random.one(&["S", "N", "BOOL", "L", "M", "SS", "NS", "S", "N"]);
        self.tested.push((path.clone(), kind));
        let inner = f(self);
        self.tested.pop();
        let test = match self.random.below(4) {
            0 => format!("type({path}) in [\"{kind}\"]"),
            1 => format!("\"{kind}\" == type({path})"),
            2 => format!("has(item.m) && type({path}) == \"{kind}\""),
            _ => format!("type({path}) == \"{kind}\""),
        };
        (test, inner)
    }

    /// Makes a condition, and a value that is computed only if the condition is true.
    pub(super) fn value_where(&mut self, depth: usize) -> (String, String) {
        let other = self.condition(depth - 1);
        match self.random.below(3) {
            0 => (other, self.any(depth)),
            1 => {
                let (test, value) = self.guarded(|s| s.any(depth));
                (format!("{test} && {other}"), value)
            }
            _ => {
                let (outer, (inner, value)) = self.guarded_pair(depth);
                (format!("({other} || true) && {outer} && {inner}"), value)
            }
        }
    }

    /// Makes two tests, and a value that is computed only if both are true.
    fn guarded_pair(&mut self, depth: usize) -> (String, (String, String)) {
        let mut inner = None;
        let (test, _) = self.guarded(|s| {
            inner = Some(s.guarded(|s| s.any(depth)));
            String::new()
        });
        (test, inner.unwrap_or_default())
    }

    /// Makes a condition.
    pub(super) fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.random.below(6) {
                0 => "true".to_owned(),
                1 => "false".to_owned(),
                2 => format!("type({}) == \"S\"", self.path()),
                _ => self.presence(),
            };
        }
        let d = depth - 1;
        match self.random.below(21) {
            0 => format!("!({})", self.condition(d)),
            1 => format!("({} && {})", self.condition(d), self.condition(d)),
            2 => format!("({} || {})", self.condition(d), self.condition(d)),
            3..=5 => {
                let (test, inner) = self.guarded(|s| s.condition(d));
                format!("({test} && {inner})")
            }
            6 | 7 => {
                let (test, inner) = self.guarded(|s| s.condition(d));
                format!("(!({test}) || {inner})")
            }
            8 => {
                let (test, inner) = self.guarded(|s| s.condition(d));
                format!("(({test}) ? {inner} : {})", self.condition(d))
            }
            9 => format!("({} {} {})", self.text(d), self.comparison(), self.text(d)),
            10 | 11 => format!("({} {} {})", self.number(d), self.comparison(), self.number(d)),
            12 => format!("({} in {})", self.text(d), self.list(d)),
            13 => format!("({} in [{}, 7])", self.number(d), self.number(d)),
            14 | 15 => {
                let macro_name = self.random.one(&["all", "exists", "exists_one"]);
                let (list, body) = self.a_macro(d, |s| s.condition(d));
                format!("{list}.{macro_name}({body})")
            }
            16 => {
                let function = self.random.one(&["contains", "startsWith", "endsWith"]);
                format!("{}.{function}({})", self.text(d), self.text(d))
            }
            17 => format!("{}.matches(\"^[ab]+$\")", self.text(d)),
            18 => match self.typed("BOOL") {
                Some(path) => path,
                None => format!("({} == {})", self.condition(d), self.condition(d)),
            },
            19 => {
                let path = self.path();
                format!("(has({}) && {path} != null)", if path.contains(['.', '[']) { path.as_str() } else { "item.a" })
            }
            _ => format!("({} == {})", self.any(d), self.any(d)),
        }
    }

    fn presence(&mut self) -> String {
        let path = self.path();
        if path.contains(['.', '[']) { format!("has({path})") } else { format!("type({path}) != \"N\"") }
    }

    fn comparison(&mut self) -> &'static str {
        self.random.one(&["==", "!=", "<", "<=", ">", ">="])
    }

    /// Makes the list, the variable and the body of a macro.
    fn a_macro(&mut self, depth: usize, body: impl FnOnce(&mut Self) -> String) -> (String, String) {
        let list = self.list(depth);
        let name = format!("v{}", self.variables.len());
        self.variables.push(name.clone());
        let body = body(self);
        self.variables.pop();
        self.tested.retain(|(path, _)| !path.starts_with(&name));
        (list, format!("{name}, {body}"))
    }

    /// Makes a number.
    pub(super) fn number(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.typed("N").unwrap_or_else(|| {
                self.random
                    .one(&["0", "1", "-2", "2.5", "1.10", "123456789012345678901234567890", "number(\"1E-3\")", "1E3"])
                    .to_owned()
            });
        }
        let d = depth - 1;
        match self.random.below(14) {
            0..=2 => self.number(0),
            3 => format!("({} + {})", self.number(d), self.number(d)),
            4 => format!("({} - {})", self.number(d), self.number(d)),
            5 => format!("({} * {})", self.number(d), self.number(d)),
            6 => format!("({} / {})", self.number(d), self.random.one(&["2", "0.5", "-8", "2.5"])),
            7 if self.random.chance(self.careless) => format!("({} / {})", self.number(d), self.number(d)),
            7 => format!("({} % {})", self.number(d), self.random.one(&["3", "-2", "0.7"])),
            8 => format!("-({})", self.number(d)),
            9 => format!("size({})", if self.random.chance(50) { self.text(d) } else { self.list(d) }),
            10 => format!(
                "math.{}({})",
                self.random.one(&["abs", "floor", "ceil", "round", "trunc", "sign"]),
                self.number(d)
            ),
            11 => format!("math.{}({}, {})", self.random.one(&["greatest", "least"]), self.number(d), self.number(d)),
            12 => {
                let (test, inner) = self.guarded(|s| s.number(d));
                format!("(({test}) ? {inner} : {})", self.number(d))
            }
            _ => format!("{}.indexOf({})", self.text(d), self.text(d)),
        }
    }

    /// Makes a text.
    pub(super) fn text(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.typed("S").unwrap_or_else(|| {
                self.random.one(&["\"\"", "\"a\"", "'b'", "\"ä\"", "\"a#b\"", "r\"\\d\"", "\"\\n\""]).to_owned()
            });
        }
        let d = depth - 1;
        match self.random.below(14) {
            0..=2 => self.text(0),
            3 | 4 => format!("({} + {})", self.text(d), self.text(d)),
            5 => format!("string({})", self.number(d)),
            6 => format!("{}.{}()", self.text(d), self.random.one(&["lowerAscii", "upperAscii", "trim", "reverse"])),
            7 => format!("{}.replace({}, {})", self.text(d), self.text(d), self.text(d)),
            8 => format!("{}.split({}).join(\"-\")", self.text(d), self.text(d)),
            9 => {
                let (test, inner) = self.guarded(|s| s.text(d));
                format!("(({test}) ? {inner} : {})", self.text(d))
            }
            10 => format!("toJson({})", self.any(d)),
            11 => format!("type({})", self.path()),
            12 => format!("{}.substring(0)", self.text(d)),
            _ => format!("string(migration.started_at + duration(\"{}h\"))", self.random.below(50)),
        }
    }

    /// Makes a list.
    pub(super) fn list(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.typed("L").unwrap_or_else(|| {
                self.random.one(&["[]", "[1, 2]", "[\"a\", \"b\"]", "[\"a\", 1, null]", "[[1], [\"a\"]]"]).to_owned()
            });
        }
        let d = depth - 1;
        match self.random.below(12) {
            0 | 1 => self.list(0),
            2 => format!("[{}, {}]", self.any(d), self.any(d)),
            3 => format!("[{}, {}]", self.text(d), self.text(d)),
            4 => format!("({} + {})", self.list(d), self.list(d)),
            5 => {
                let (list, body) = self.a_macro(d, |s| s.any(d));
                format!("{list}.map({body})")
            }
            6 | 7 => {
                let (list, body) = self.a_macro(d, |s| s.condition(d));
                format!("{list}.filter({body})")
            }
            8 => format!("{}.split({})", self.text(d), self.text(d)),
            9 => format!("{}.{}()", self.list(d), self.random.one(&["distinct", "flatten", "reverse"])),
            10 => {
                let kind = self.random.one(&["SS", "NS"]);
                match self.typed(kind) {
                    Some(path) => format!("list({path})"),
                    None => format!("[{}, {}].sort()", self.number(d), self.number(d)),
                }
            }
            _ => {
                let (test, inner) = self.guarded(|s| s.list(d));
                format!("(({test}) ? {inner} : {})", self.list(d))
            }
        }
    }

    /// Makes a value of any type.
    pub(super) fn any(&mut self, depth: usize) -> String {
        let d = depth.saturating_sub(1);
        match self.random.below(13) {
            0..=2 => self.text(d),
            3..=5 => self.number(d),
            6 => self.condition(d),
            7 | 8 => self.list(d),
            9 => "null".to_owned(),
            10 => format!("{{\"x\": {}, \"y z\": {}}}", self.any(d), self.text(d)),
            11 => format!("set([{}, {}])", self.text(d), self.text(d)),
            _ => match self.random.below(3) {
                0 => self.path(),
                1 => format!("({} ? {} : null)", self.presence(), self.path()),
                _ => "b\"\\x01\"".to_owned(),
            },
        }
    }
}
