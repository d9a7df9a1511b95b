//! Textual armour for secret bytes (RFC 7468): a label line, base64 in lines of 64, an end line.

use data_encoding::BASE64;
use zeroize::Zeroizing;

const LINE: usize = 64;

/// `bytes` in armour.
pub fn write(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let length = bytes.len().div_ceil(3) * 4;
    let mut base64 = Zeroizing::new(vec![0; length]);
    BASE64.encode_mut(bytes, &mut base64);
    // Room for all at once, so that no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(length + length / LINE + 2 * label.len() + 64));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in base64.chunks(LINE) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The bytes in armour with this label, or the line and what is wrong there. Text before the label line is a comment.
pub fn parse(label: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, (usize, String)> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut lines = text.lines().zip(1..).map(|(line, number)| (line.trim_end(), number));
    let first = lines.find(|(line, _)| line.starts_with("-----")).ok_or((1, format!("no line `{begin}`")))?;
    if first.0 != begin {
        return Err((first.1, format!("`{}` where `{begin}` is expected", first.0)));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut last = first.1;
    for (line, number) in lines {
        if line == end {
            return Ok(bytes);
        }
        let decoded = BASE64.decode(line.as_bytes()).map_err(|error| (number, format!("not base64: {error}")))?;
        bytes.extend_from_slice(&Zeroizing::new(decoded));
        last = number;
    }
    Err((last, format!("ends without `{end}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_back() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let bytes: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            assert_eq!(*parse("SECRET", &write("SECRET", &bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn faults_are_found_in_their_line() {
        let sound = write("SECRET", &[7; 100]).to_string();
        let fault = |text: &str| parse("SECRET", text).unwrap_err();
        assert_eq!(fault("hello\n").0, 1);
        assert_eq!(fault(&sound.replace("SECRET", "OTHER")).0, 1);
        assert_eq!(fault(&format!("\n{}", sound.replace("END", "ENDE"))).0, 6);
        assert!(fault(&sound[..80]).1.contains("not base64"));
        assert!(fault(&sound.replace("-----END SECRET-----\n", "")).1.contains("ends without"));
    }
}
