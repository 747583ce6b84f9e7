//! Text to UUIDs.

/// A UUID as Postgres takes it, whatever the case of its letters: 32 hexadecimal digits, after any four of which a hyphen may
/// stand, and braces around. The text has no blanks around.
#[inline]
pub(crate) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match text {
        [b'{', inner @ .., b'}'] => inner,
        text => text,
    };
    let mut value = [0; 16];
    for (n, byte) in value.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else { return None };
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        if (high | low) > 15 {
            return None;
        }
        *byte = high << 4 | low;
        rest = match after {
            [b'-', after @ ..] if n % 2 == 1 && n < 15 => after,
            after => after,
        };
    }
    rest.is_empty().then_some(value)
}

/// What each byte is as a hexadecimal digit; more than 15: none.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut n = 0;
    while n < 16u8 {
        digits[b"0123456789abcdef"[n as usize] as usize] = n;
        digits[b"0123456789ABCDEF"[n as usize] as usize] = n;
        n += 1;
    }
    digits
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_the_forms_of_postgres() {
        let want = 0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11_u128.to_be_bytes();
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        ] {
            assert_eq!(uuid(text.as_bytes()), Some(want), "{text}");
        }
        for text in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
            "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(uuid(text.as_bytes()), None, "{text}");
        }
    }
}
