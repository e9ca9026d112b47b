//! The project's own tools, which nobody installs.

mod document;
mod manipulate;
mod window_boxes;

const USAGE: &str = "\
usage: cargo xtask TOOL…

  document [--check]               writes the parts of README.md and docs/ that come from the code;
                                   with --check it changes nothing and fails where they are not current
  manipulate KIND IN OUT.mp4       makes a clip of the demo: each face changed as by a swap, mouth (lip-sync) or generated head,
                                   or as-is: untouched, through the same encoder
  window-boxes FRAMES CLIP…        compares boxes found in windows with those found in the whole picture";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["document"] => document::run(false),
        ["document", "--check"] => document::run(true),
        ["manipulate", kind, input, output] => {
            let look = match *kind {
                "as-is" => None,
                "swap" => Some(&manipulate::SWAP),
                "mouth" => Some(&manipulate::MOUTH),
                "generated" => Some(&manipulate::GENERATED),
                _ => anyhow::bail!("manipulate {kind}: must be as-is, swap, mouth or generated"),
            };
            manipulate::run(input.as_ref(), output.as_ref(), look)
        }
        ["window-boxes", frames, clips @ ..] => window_boxes::run(frames.parse()?, clips),
        _ => anyhow::bail!("{USAGE}"),
    }
}
