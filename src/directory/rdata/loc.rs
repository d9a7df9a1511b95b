//! LOC: where something is on the Earth (RFC 1876).

use super::{RdataError, Result};
use crate::directory::master::token::Token;

/// Centimetres from the lowest altitude that can be written to the reference spheroid.
const ALTITUDE_ZERO: i64 = 10_000_000;
const THOUSANDTHS_PER_DEGREE: u32 = 3_600_000;
const EQUATOR: u32 = 1 << 31;

/// `d1 [m1 [s1]] {N|S} d2 [m2 [s2]] {E|W} alt [size [horizontal [vertical]]]` (RFC 1876 §3).
pub(super) fn parse(mut tokens: &[Token<'_>], out: &mut Vec<u8>) -> Result<()> {
    let latitude = parse_angle(&mut tokens, 90, ["N", "S"])?;
    let longitude = parse_angle(&mut tokens, 180, ["E", "W"])?;
    let (altitude, precisions) =
        tokens.split_first().ok_or_else(|| RdataError::new("the altitude is missing: write it as -2m"))?;
    let altitude = parse_metres(altitude.text)? + ALTITUDE_ZERO;
    let altitude = u32::try_from(altitude).map_err(|_| RdataError::new("the altitude is out of range"))?;
    if precisions.len() > 3 {
        return Err(RdataError::new("after size, horizontal and vertical precision nothing follows"));
    }
    // RFC 1876 §3: 1 m, 10,000 m and 10 m if not said.
    let mut sizes = [0x12, 0x16, 0x13];
    for (size, token) in sizes.iter_mut().zip(precisions) {
        *size = encode_size(parse_metres(token.text)?)?;
    }
    out.push(0);
    out.extend(sizes);
    for value in [latitude, longitude, altitude] {
        out.extend(value.to_be_bytes());
    }
    Ok(())
}

pub(super) fn check(part: &[u8]) -> Result<()> {
    let Some((version, sizes, latitude, longitude, _)) = split(part) else {
        return Err(RdataError::new("a location has 16 bytes"));
    };
    let size_holds = |size: u8| size >> 4 <= 9 && size & 15 <= 9 && (size >> 4 != 0 || size == 0);
    let within = |value: u32, degrees: u32| value.abs_diff(EQUATOR) <= degrees * THOUSANDTHS_PER_DEGREE;
    if version != 0 || !sizes.into_iter().all(size_holds) || !within(latitude, 90) || !within(longitude, 180) {
        return Err(RdataError::new("not a location of version 0 on the Earth (RFC 1876)"));
    }
    Ok(())
}

pub(super) fn to_text(part: &[u8]) -> String {
    let Some((_, sizes, latitude, longitude, altitude)) = split(part) else { return String::new() };
    let [size, horizontal, vertical] = sizes.map(|size| {
        let centimetres = u64::from(size >> 4) * 10u64.pow(u32::from(size & 15));
        format!("{}.{:02}m", centimetres / 100, centimetres % 100)
    });
    let altitude = i64::from(altitude) - ALTITUDE_ZERO;
    let sign = if altitude < 0 { "-" } else { "" };
    let altitude = format!("{sign}{}.{:02}m", altitude.unsigned_abs() / 100, altitude.unsigned_abs() % 100);
    let (latitude, longitude) = (angle_to_text(latitude, ['N', 'S']), angle_to_text(longitude, ['E', 'W']));
    format!("{latitude} {longitude} {altitude} {size} {horizontal} {vertical}")
}

/// Version, precisions, latitude, longitude, altitude.
fn split(part: &[u8]) -> Option<(u8, [u8; 3], u32, u32, u32)> {
    let bytes: &[u8; 16] = part.try_into().ok()?;
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Some((bytes[0], [bytes[1], bytes[2], bytes[3]], word(4), word(8), word(12)))
}

fn angle_to_text(value: u32, directions: [char; 2]) -> String {
    let thousandths = value.abs_diff(EQUATOR);
    let (degrees, minutes) = (thousandths / THOUSANDTHS_PER_DEGREE, thousandths / 60_000 % 60);
    let (seconds, fraction) = (thousandths / 1000 % 60, thousandths % 1000);
    format!("{degrees} {minutes} {seconds}.{fraction:03} {}", directions[usize::from(value < EQUATOR)])
}

fn parse_angle(tokens: &mut &[Token<'_>], most: u32, directions: [&str; 2]) -> Result<u32> {
    let wrong = || RdataError(format!("not an angle: write it as 52 22 23.5 {}", directions[0]));
    let mut parts = [0i64; 3];
    for place in 0..4 {
        let (token, rest) = tokens.split_first().ok_or_else(wrong)?;
        *tokens = rest;
        if let Some(side) = directions.iter().position(|direction| direction.eq_ignore_ascii_case(token.text)) {
            let thousandths = parts[0] * i64::from(THOUSANDTHS_PER_DEGREE) + parts[1] * 60_000 + parts[2];
            let holds = place > 0 && thousandths <= i64::from(most * THOUSANDTHS_PER_DEGREE);
            let offset = holds.then_some(thousandths as u32).ok_or_else(wrong)?;
            return Ok(if side == 0 { EQUATOR + offset } else { EQUATOR - offset });
        }
        let (unit, limit) = [(1, i64::from(most)), (1, 59), (1000, 59_999)].get(place).copied().ok_or_else(wrong)?;
        let value = parse_fixed(token.text, unit).filter(|value| (0..=limit).contains(value));
        parts[place] = value.ok_or_else(wrong)?;
    }
    Err(wrong())
}

/// Centimetres.
fn parse_metres(text: &str) -> Result<i64> {
    let number = text.strip_suffix(['m', 'M']).unwrap_or(text);
    parse_fixed(number, 100).ok_or_else(|| RdataError(format!("{text:?} is not a length in metres such as 10m")))
}

/// A decimal number in units of 1/`scale` (1, 100 or 1000); no more digits after the point than that.
fn parse_fixed(text: &str, scale: i64) -> Option<i64> {
    let (digits, sign) = text.strip_prefix('-').map_or((text, 1), |digits| (digits, -1));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let places = scale.ilog10() as usize;
    if whole.is_empty() || whole.len() > 9 || fraction.len() > places {
        return None;
    }
    let written = format!("{whole}{fraction:0<places$}");
    written.bytes().all(|byte| byte.is_ascii_digit()).then(|| written.parse::<i64>().ok())?.map(|value| sign * value)
}

/// One decimal digit and a power of ten (RFC 1876 §2), rounded down.
fn encode_size(centimetres: i64) -> Result<u8> {
    let mut mantissa = u64::try_from(centimetres).map_err(|_| RdataError::new("a size is not negative"))?;
    let mut exponent = 0u8;
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    (exponent <= 9)
        .then_some((mantissa as u8) << 4 | exponent)
        .ok_or_else(|| RdataError::new("a size is at most 90000000m"))
}
