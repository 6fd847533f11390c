//! Converts terminal output with ANSI escape codes on stdin to an SVG picture on stdout. `docs/picture.sh` uses it.

use std::io::{Read as _, Write as _};

use anstyle_svg::Term;

fn main() -> std::io::Result<()> {
    let mut ansi = String::new();
    std::io::stdin().read_to_string(&mut ansi)?;
    let svg = Term::new().render_svg(ansi.trim_end());
    std::io::stdout().write_all(svg.as_bytes())
}
