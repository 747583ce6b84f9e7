//! Text to decimal numbers, digit by digit: nothing is rounded, and no float is on the way.

/// The most digits that a decimal number has.
pub(crate) const MOST_DIGITS: u8 = 38;

/// Why a text is no decimal number of some digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no number at all, or none with digits (`NaN`).
    NoNumber,
    /// It has more digits after the point than are stated, and they are not zeros.
    TooFine,
    /// It has more digits before the point than there is room for.
    TooLarge,
}

/// A number of so many digits, of which `scale` come after the point, as a whole number of the last of them. The text has no
/// blanks around.
#[inline]
pub(crate) fn decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    match short(text, scale) {
        Some(number) => (number.unsigned_abs() < POWERS[usize::from(precision)]).then_some(number),
        None => checked(text, precision, scale).ok(),
    }
}

/// Powers of ten up to the first number that has too many digits.
const POWERS: [u128; MOST_DIGITS as usize + 1] = {
    let mut powers = [1; MOST_DIGITS as usize + 1];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

/// A few digits and a point, as most amounts are written.
#[inline]
fn short(text: &[u8], scale: u8) -> Option<i128> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    // So many digits cannot overflow.
    if rest.len() > 19 {
        return None;
    }
    let (mut number, mut count, mut point) = (0u64, 0, None);
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 && count < 18 {
            number = number * 10 + u64::from(digit);
            count += 1;
        } else if *byte == b'.' && point.is_none() {
            point = Some(count);
        } else {
            return None;
        }
    }
    let after = count - point.unwrap_or(count);
    let missing = usize::from(scale).checked_sub(after).filter(|_| count > 0)?;
    // 18 digits and 20 more fit.
    let number = i128::from(number) * POWERS.get(missing).copied().filter(|_| missing <= 20)? as i128;
    Some(if negative { -number } else { number })
}

/// The same of any text, and what is wrong with it.
pub(crate) fn checked(text: &[u8], precision: u8, scale: u8) -> Result<i128, Unfit> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..]).ok_or(Unfit::NoNumber)?),
        None => (rest, 0),
    };
    let (whole, after) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    let digits = || whole.iter().chain(after).map(|byte| byte.wrapping_sub(b'0'));
    if digits().next().is_none() || digits().any(|digit| digit > 9) {
        return Err(Unfit::NoNumber);
    }
    let Some(first) = digits().position(|digit| digit != 0) else { return Ok(0) };
    let last = digits().count() - digits().rev().position(|digit| digit != 0).unwrap_or(0);
    // How many places before the point the first digit that counts stands, and how many behind it the last one.
    let before = whole.len() as i64 - first as i64 + exponent;
    let behind = last as i64 - whole.len() as i64 - exponent;
    if behind > scale.into() {
        return Err(Unfit::TooFine);
    }
    if before > i64::from(precision) - i64::from(scale) {
        return Err(Unfit::TooLarge);
    }
    // Both together are no more than the precision, which fits.
    let number = digits().take(last).skip(first).fold(0u128, |number, digit| number * 10 + u128::from(digit));
    let missing = usize::try_from(i64::from(scale) - behind).unwrap_or(0);
    let number = (number * POWERS[missing]) as i128;
    Ok(if negative { -number } else { number })
}

/// An exponent; one that is larger than any number of digits is as good as another.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    let number = number.min(1 << 40);
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        use Unfit::{NoNumber, TooFine, TooLarge};
        for (text, want) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("12.5", Ok(1_250)),
            ("-.05", Ok(-5)),
            ("+7.", Ok(700)),
            ("007.50", Ok(750)),
            ("999.99", Ok(99_999)),
            ("1.500000000000000000000000000000000000000000", Ok(150)),
            ("0000000000000000000000000000000000000000001.5", Ok(150)),
            ("1e2", Ok(10_000)),
            ("1.25E+1", Ok(1_250)),
            ("125000e-3", Ok(12_500)),
            ("0e999999999999999999999", Ok(0)),
            ("1000", Err(TooLarge)),
            ("-1000.00", Err(TooLarge)),
            ("1e3", Err(TooLarge)),
            ("1e99999999999999999999", Err(TooLarge)),
            ("1e99999999999999999999x", Err(NoNumber)),
            ("0.005", Err(TooFine)),
            ("1e-3", Err(TooFine)),
            ("1e-99999999999999999999", Err(TooFine)),
            ("123456789012345678901234567890.1", Err(TooLarge)),
            ("", Err(NoNumber)),
            (".", Err(NoNumber)),
            ("-", Err(NoNumber)),
            ("+-1", Err(NoNumber)),
            ("1.2.3", Err(NoNumber)),
            ("1,5", Err(NoNumber)),
            ("1 000", Err(NoNumber)),
            ("1_000", Err(NoNumber)),
            ("1e", Err(NoNumber)),
            ("1e1.5", Err(NoNumber)),
            ("e5", Err(NoNumber)),
            ("0x10", Err(NoNumber)),
            ("NaN", Err(NoNumber)),
            ("inf", Err(NoNumber)),
            ("١", Err(NoNumber)),
        ] {
            assert_eq!(checked(text.as_bytes(), 5, 2), want, "{text}");
            assert_eq!(decimal(text.as_bytes(), 5, 2), want.ok(), "{text}");
        }
    }

    #[test]
    fn all_38_digits_count() {
        let most = "9".repeat(38);
        let all = 10i128.pow(38) - 1;
        assert_eq!(decimal(most.as_bytes(), 38, 0), Some(all));
        assert_eq!(decimal(format!("-0.{most}").as_bytes(), 38, 38), Some(-all));
        assert_eq!(decimal(format!("1{}", "0".repeat(38)).as_bytes(), 38, 0), None);
        assert_eq!(decimal(b"1", 38, 38), None);
        assert_eq!(decimal(b"1e-38", 38, 38), Some(1));
        assert_eq!(decimal(b"999999999999999999", 38, 20), Some(999_999_999_999_999_999 * 10i128.pow(20)));
        assert_eq!(decimal(b"9999999999999999999", 38, 0), Some(9_999_999_999_999_999_999));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is written of a number is that number, and the quick way finds what the other one does.
        #[test]
        fn digits_survive(number in any::<i128>(), length in 0..=38u32, scale in 0..=38u8) {
            let number = number % 10i128.pow(length);
            let digits = format!("{:0>width$}", number.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, after) = digits.split_at(digits.len() - usize::from(scale));
            let sign = if number < 0 { "-" } else { "" };
            for text in [format!("{sign}{whole}.{after}"), format!("{number}e-{scale}")] {
                prop_assert_eq!(checked(text.as_bytes(), 38, scale), Ok(number));
                prop_assert_eq!(decimal(text.as_bytes(), 38, scale), Some(number));
            }
        }

        #[test]
        fn both_ways_say_the_same(text in "[-+]?[0-9.]{0,24}(e[-+]?[0-9]{1,2})?", precision in 1..=38u8, scale in 0..=38u8) {
            let scale = scale.min(precision);
            prop_assert_eq!(decimal(text.as_bytes(), precision, scale), checked(text.as_bytes(), precision, scale).ok());
        }
    }
}
