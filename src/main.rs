//! Parses arguments, builds the runtime, maps the error to an exit code.
fn main() {}
