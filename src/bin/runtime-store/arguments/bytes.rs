//! Numbers of bytes on the command line.

/// A number of bytes from the command line: `1000`, `64M`, `1GiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("unknown unit: use K, M or G (1024, 1024^2, 1024^3 bytes)".into()),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "expected a number of bytes, for example 64M".to_owned())?;
    match number.checked_mul(1 << shift) {
        None | Some(0) => Err(
            "the number of bytes must be from 1 to the largest that this machine can address"
                .into(),
        ),
        Some(bytes) => Ok(bytes),
    }
}
