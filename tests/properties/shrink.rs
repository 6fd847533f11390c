//! Shrinks a failing case, so that it is easy to read.

use super::Case;

/// The maximum number of smaller cases to try.
const ATTEMPTS: usize = 600;

/// Returns the smallest failing case that it finds, and the reason for the failure.
pub(crate) fn shrunk(case: &Case, why: &str) -> (Case, String) {
    let (mut case, mut why) = (case.clone(), why.to_owned());
    let mut left = ATTEMPTS;
    'smaller: loop {
        for candidate in candidates(&case) {
            if left == 0 {
                break 'smaller;
            }
            left -= 1;
            if let Err(reason) = candidate.check(None) {
                (case, why) = (candidate, reason);
                continue 'smaller;
            }
        }
        break;
    }
    (case, why)
}

/// Returns smaller cases: with fewer items, with a simpler plan, and with fewer attributes.
fn candidates(case: &Case) -> Vec<Case> {
    let with_items = |items| Case { items, ..case.clone() };
    let half = case.items.len() / 2;
    let mut smaller = Vec::new();
    if half > 0 {
        smaller.push(with_items(case.items[..half].to_vec()));
        smaller.push(with_items(case.items[half..].to_vec()));
    }
    smaller.extend(case.spec.simpler().into_iter().map(|spec| Case { spec, ..case.clone() }));
    if case.items.len() <= 2 {
        for (at, item) in case.items.iter().enumerate() {
            for name in item.keys().filter(|name| !matches!(name.as_str(), "pk" | "sk")) {
                let mut items = case.items.clone();
                items[at].remove(name);
                smaller.push(with_items(items));
            }
        }
    }
    smaller
}
