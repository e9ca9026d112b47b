//! The project's own tools, which nobody installs.

mod document;
mod manipulate;
mod window_boxes;

const USAGE: &str = "\
usage: cargo xtask TOOL…

  document [--check]               writes the parts of README.md and docs/ that come from the code;
                                   with --check it changes nothing and fails where they are not current
  manipulate [--as-is] IN OUT.mp4  makes the demo's second clip: each face replaced by a changed copy of itself
  window-boxes FRAMES CLIP…        compares boxes found in windows with those found in the whole picture";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["document"] => document::run(false),
        ["document", "--check"] => document::run(true),
        ["manipulate", "--as-is", input, output] => manipulate::run(input.as_ref(), output.as_ref(), true),
        ["manipulate", input, output] => manipulate::run(input.as_ref(), output.as_ref(), false),
        ["window-boxes", frames, clips @ ..] => window_boxes::run(frames.parse()?, clips),
        _ => anyhow::bail!("{USAGE}"),
    }
}
