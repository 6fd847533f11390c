//! Functions of lists, sets and maps.

use std::collections::BTreeSet;

use crate::expr::decimal;
use crate::expr::function::{Fails, Form, Function, Prepared, Returns, Stop, Style, list, overload, p};
use crate::expr::run::Run;
use crate::expr::types::Kinds;
use crate::expr::value::{Val, View, weight};
use crate::item::{Num, Value};

const L: Kinds = Kinds::L;
const N: Kinds = Kinds::N;
const SAME: Returns = Returns::SameList;

/// The maximum length of a list that `lists.range` makes.
const MAX_RANGE: i128 = 100_000;

const OUT_OF_RANGE: &str = "a position is not a whole number inside the list";

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "size",
        style: Style::Both,
        overloads: &[overload(&[p(Kinds::S.or(Kinds::B).or(Kinds::COLLECTIONS))], Returns::Kinds(Kinds::N))],
        about: "The number of characters, bytes, elements or members.",
        examples: &[(r#"size("größe")"#, "5"), (r#"["a", "b"].size()"#, "2"), (r#"size(bytes("größe"))"#, "7")],
        fails: Fails::Never,
        constant: None,
        body: size,
    },
    Function {
        name: "set",
        style: Style::Global,
        overloads: &[
            overload(&[list(Kinds::S)], Returns::Kinds(Kinds::SS)),
            overload(&[list(N)], Returns::Kinds(Kinds::NS)),
            overload(&[list(Kinds::B)], Returns::Kinds(Kinds::BS)),
        ],
        about: "The set (SS, NS or BS) of the list's elements. Equal elements occur once.",
        examples: &[(r#"set(["b", "a", "b"])"#, r#"set(["a", "b"])"#), ("set([1, 1.0])", "set([1])")],
        fails: Fails::Unless(is_not_empty, "the list is empty (DynamoDB has no empty set)"),
        constant: None,
        body: set,
    },
    Function {
        name: "list",
        style: Style::Global,
        overloads: &[overload(&[p(Kinds::SETS)], SAME)],
        about: "The members of a set, sorted.",
        examples: &[(r#"list(set(["b", "a"]))"#, r#"["a", "b"]"#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| members(run, args[0].view()).map(|list| Val::Own(Value::L(list))),
    },
    Function {
        name: "sort",
        style: Style::Method,
        overloads: &[overload(&[list(Kinds::S)], SAME), overload(&[list(N)], SAME), overload(&[list(Kinds::B)], SAME)],
        about: "The elements in ascending order: texts by their UTF-8 bytes, as DynamoDB sorts them.",
        examples: &[("[10, 9, 1].sort()", "[1, 9, 10]"), (r#"["b", "B"].sort()"#, r#"["B", "b"]"#)],
        fails: Fails::Never,
        constant: None,
        body: sort,
    },
    Function {
        name: "distinct",
        style: Style::Method,
        overloads: &[overload(&[p(L)], SAME)],
        about: "The list without elements that are equal to an earlier element.",
        examples: &[("[1, 2, 1.0].distinct()", "[1, 2]")],
        fails: Fails::Never,
        constant: None,
        body: distinct,
    },
    Function {
        name: "flatten",
        style: Style::Method,
        overloads: &[overload(&[p(L)], Returns::Flat)],
        about: "The list with each inner list replaced by its elements, one level deep.",
        examples: &[("[1, [2, [3]]].flatten()", "[1, 2, [3]]")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| {
            let elements = args[0].view().list().ok_or(Stop::Types)?;
            run.spend(elements.iter().map(weight).sum::<u64>())?;
            let flat = elements.iter().flat_map(|element| match View::of(element).list() {
                Some(inner) => inner.to_vec(),
                None => vec![element.clone()],
            });
            Ok(Val::Own(Value::L(flat.collect())))
        },
    },
    Function {
        name: "slice",
        style: Style::Method,
        overloads: &[overload(&[p(L), p(N), p(N)], SAME)],
        about: "The elements from the first position up to, but not including, the second position. Positions start at 0.",
        examples: &[("[1, 2, 3].slice(1, 3)", "[2, 3]")],
        fails: Fails::Sometimes(OUT_OF_RANGE),
        constant: None,
        body: |run, args, _| {
            let elements = args[0].view().list().ok_or(Stop::Types)?;
            let (start, end) = (position(&args[1])?, position(&args[2])?);
            let part = elements.get(start..end).ok_or(Stop::reason(OUT_OF_RANGE))?;
            run.spend(part.iter().map(weight).sum::<u64>())?;
            Ok(Val::Own(Value::L(part.to_vec())))
        },
    },
    Function {
        name: "first",
        style: Style::Method,
        overloads: &[overload(&[p(L)], Returns::Element)],
        about: "The first element.",
        examples: &[(r##""a#b".split("#").first()"##, r#""a""#)],
        fails: Fails::Unless(is_not_empty, "the list is empty"),
        constant: None,
        body: |run, args, _| end(run, &args[0], <[Value]>::first),
    },
    Function {
        name: "last",
        style: Style::Method,
        overloads: &[overload(&[p(L)], Returns::Element)],
        about: "The last element.",
        examples: &[("[1, 2].last()", "2")],
        fails: Fails::Unless(is_not_empty, "the list is empty"),
        constant: None,
        body: |run, args, _| end(run, &args[0], <[Value]>::last),
    },
    Function {
        name: "lists.range",
        style: Style::Global,
        overloads: &[overload(&[p(N)], Returns::List(N))],
        about: "The whole numbers from 0 up to, but not including, the number.",
        examples: &[("lists.range(3)", "[0, 1, 2]")],
        fails: Fails::Sometimes("the number is not a whole number from 0 to 100,000"),
        constant: None,
        body: |run, args, _| {
            let number = args[0].view().number().ok_or(Stop::Types)?;
            let count = decimal::integer(&number).filter(|count| (0..=MAX_RANGE).contains(count));
            let count = count.ok_or(Stop::reason("the number is not a whole number from 0 to 100,000"))?;
            run.spend(u64::try_from(count).unwrap_or(u64::MAX))?;
            let numbers = (0..count).map(|n| Value::N(Num::from_wire(n.to_string())));
            Ok(Val::Own(Value::L(numbers.collect())))
        },
    },
];

fn is_not_empty(args: &[Form<'_>]) -> bool {
    match args {
        [Form::Const(list)] => list.view().list().is_some_and(|list| !list.is_empty()),
        [Form::WrittenList] => true,
        [Form::Other] | [] | [_, _, ..] => false,
    }
}

fn size<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let size = match args[0].view() {
        View::S(text) => {
            run.spend_bytes(text.len())?;
            text.chars().count()
        }
        View::B(bytes) => bytes.len(),
        View::Ss(set) => set.len(),
        View::Ns(set) => set.len(),
        View::Bs(set) => set.len(),
        View::L(list) => list.len(),
        View::M(map) => map.len(),
        View::N(_) | View::Bool(_) | View::Null | View::Timestamp(_) | View::Duration(_) => return Err(Stop::Types),
    };
    Ok(Val::integer(size as u64))
}

/// Returns the members of a collection in the order in which macros visit them: the elements of a list, the sorted
/// members of a set, or the sorted keys of a map.
pub(in crate::expr) fn members(run: &mut Run<'_>, view: View<'_>) -> Result<Vec<Value>, Stop> {
    let cost = match view {
        View::L(list) => list.iter().map(weight).sum(),
        View::Ss(set) => set.iter().map(|text| 1 + text.len() as u64 / 64).sum(),
        View::Ns(set) => 4 * set.len() as u64,
        View::Bs(set) => set.iter().map(|bytes| 1 + bytes.len() as u64 / 64).sum(),
        View::M(map) => map.len() as u64,
        View::S(_) | View::N(_) | View::B(_) | View::Bool(_) | View::Null | View::Timestamp(_) | View::Duration(_) => {
            return Err(Stop::Types);
        }
    };
    run.spend(1 + cost)?;
    Ok(match view {
        View::L(list) => list.to_vec(),
        View::Ss(set) => set.iter().collect::<BTreeSet<_>>().into_iter().map(|s| Value::S(s.clone())).collect(),
        View::Ns(set) => {
            let mut numbers: Vec<Value> = set.iter().map(|n| Value::N(n.clone())).collect();
            sort_values(&mut numbers);
            numbers
        }
        View::Bs(set) => set.iter().collect::<BTreeSet<_>>().into_iter().map(|b| Value::B(b.clone())).collect(),
        View::M(map) => map.keys().map(|key| Value::S(key.clone())).collect(),
        View::S(_) | View::N(_) | View::B(_) | View::Bool(_) | View::Null | View::Timestamp(_) | View::Duration(_) => {
            return Err(Stop::Types);
        }
    })
}

fn set<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let elements = args[0].view().list().ok_or(Stop::Types)?;
    run.spend(elements.iter().map(weight).sum::<u64>())?;
    let mut elements = elements.to_vec();
    if !sort_values(&mut elements) {
        return Err(Stop::reason("the elements are not all of type S, all of type N, or all of type B"));
    }
    elements.dedup();
    let texts = elements.iter().filter_map(|v| if let Value::S(s) = v { Some(s.clone()) } else { None });
    let numbers = elements.iter().filter_map(|v| if let Value::N(n) = v { Some(n.clone()) } else { None });
    let binaries = elements.iter().filter_map(|v| if let Value::B(b) = v { Some(b.clone()) } else { None });
    match elements.first() {
        None => Err(Stop::reason("the list is empty (DynamoDB has no empty set)")),
        Some(Value::S(_)) => Ok(Val::Own(Value::Ss(texts.collect()))),
        Some(Value::N(_)) => Ok(Val::Own(Value::Ns(numbers.collect()))),
        Some(
            Value::B(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_)
            | Value::L(_)
            | Value::M(_),
        ) => Ok(Val::Own(Value::Bs(binaries.collect()))),
    }
}

/// Sorts texts, numbers or binary values. Returns false if the list contains anything else, or several types.
fn sort_values(list: &mut [Value]) -> bool {
    if list.iter().all(|value| matches!(value, Value::S(_)) || matches!(value, Value::B(_)))
        && list.windows(2).all(|pair| pair[0].type_name() == pair[1].type_name())
    {
        list.sort_by(|a, b| bytes_of(a).cmp(bytes_of(b)));
        return true;
    }
    let numbers: Option<Vec<_>> = list.iter().map(|v| Some(View::of(v).number()?.into_owned())).collect();
    let Some(numbers) = numbers else { return false };
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by(|a, b| numbers[*a].cmp(&numbers[*b]));
    let sorted: Vec<Value> = order.into_iter().map(|at| list[at].clone()).collect();
    list.clone_from_slice(&sorted);
    true
}

fn bytes_of(value: &Value) -> &[u8] {
    let view = View::of(value);
    view.text().map(str::as_bytes).or(view.bytes()).unwrap_or_default()
}

fn sort<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let elements = args[0].view().list().ok_or(Stop::Types)?;
    run.spend(8 * elements.iter().map(weight).sum::<u64>())?;
    let mut elements = elements.to_vec();
    if sort_values(&mut elements) {
        Ok(Val::Own(Value::L(elements)))
    } else {
        Err(Stop::reason("the elements are not all of type S, all of type N, or all of type B"))
    }
}

fn distinct<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let elements = args[0].view().list().ok_or(Stop::Types)?;
    let mut scalars = BTreeSet::new();
    let mut documents: Vec<&Value> = Vec::new();
    let mut kept = Vec::new();
    for element in elements {
        run.spend(weight(element))?;
        let is_new = match scalar(element) {
            Some(scalar) => scalars.insert(scalar),
            None => {
                // Each document or set is compared with those before it.
                run.spend(weight(element).saturating_mul(documents.len() as u64))?;
                let is_new = !documents.contains(&element);
                if is_new {
                    documents.push(element);
                }
                is_new
            }
        };
        if is_new {
            kept.push(element.clone());
        }
    }
    Ok(Val::Own(Value::L(kept)))
}

/// Returns the type and the bytes of a scalar. Two scalars have the same type and the same bytes only if they are
/// equal.
fn scalar(value: &Value) -> Option<(&'static str, Vec<u8>)> {
    let bytes = match value {
        Value::S(text) => text.clone().into_bytes(),
        Value::N(num) => num.canonical().into_bytes(),
        Value::B(bytes) => bytes.clone(),
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Null => Vec::new(),
        Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => return None,
    };
    Some((value.type_name(), bytes))
}

fn position(value: &Val<'_>) -> Result<usize, Stop> {
    let number = value.view().number().ok_or(Stop::Types)?;
    let position = decimal::integer(&number).and_then(|position| usize::try_from(position).ok());
    position.ok_or(Stop::reason(OUT_OF_RANGE))
}

fn end<'a>(
    run: &mut Run<'a>,
    list: &Val<'a>,
    of: for<'v> fn(&'v [Value]) -> Option<&'v Value>,
) -> Result<Val<'a>, Stop> {
    if let Val::Ref(Value::L(list)) = list {
        return of(list).map(Val::Ref).ok_or(Stop::reason("the list is empty"));
    }
    let elements = list.view().list().ok_or(Stop::Types)?;
    let element = of(elements).ok_or(Stop::reason("the list is empty"))?;
    run.spend(weight(element))?;
    Ok(Val::Own(element.clone()))
}
