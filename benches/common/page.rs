//! `out/bench.md`, to which each benchmark adds its part.

use std::path::PathBuf;

/// A file in the folder of results, which is made where it is missing.
///
/// # Errors
/// If that fails.
pub fn file(name: &str) -> std::io::Result<PathBuf> {
    let out = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("out");
    std::fs::create_dir_all(&out)?;
    Ok(out.join(name))
}

/// Prints a part and puts it into `out/bench.md`, in the place of what it said before. A part begins with its title, a line with
/// one `#`, and goes on to the next.
///
/// # Errors
/// If the file cannot be read or written.
pub fn put(part: &str) -> std::io::Result<()> {
    print!("\n{part}");
    let file = file("bench.md")?;
    let page = if file.exists() { std::fs::read_to_string(&file)? } else { String::new() };
    std::fs::write(&file, replaced(&page, part))
}

fn replaced(page: &str, part: &str) -> String {
    let title = part.lines().next().unwrap_or_default();
    let mut parts: Vec<String> = vec![];
    for line in page.lines() {
        if line.starts_with("# ") || parts.is_empty() {
            parts.push(String::new());
        }
        let last = parts.last_mut().expect("there is one at least");
        last.push_str(line);
        last.push('\n');
    }
    match parts.iter_mut().find(|old| old.lines().next() == Some(title)) {
        Some(old) => *old = part.to_owned(),
        None => parts.push(part.to_owned()),
    }
    parts.iter().map(|part| part.trim_end()).collect::<Vec<_>>().join("\n\n") + "\n"
}
