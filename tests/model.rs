//! Model.
use stateright as _;
#[test]
fn nothing() {}
