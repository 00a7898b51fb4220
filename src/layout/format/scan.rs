//! Looking for the first byte of a kind, many bytes at a time.

/// How many bytes from the beginning of `bytes` are all accepted. They are looked at `STEP` at a
/// time: many for long stretches, few for short ones.
pub(crate) fn length_of<const STEP: usize>(bytes: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    let (steps, _) = bytes.as_chunks::<STEP>();
    // Without a way out of the middle of a step, the processor looks at all of its bytes at once.
    let accept_step = |step: &&[u8; STEP]| step.iter().fold(true, |all, byte| all & accept(*byte));
    let length = STEP * steps.iter().take_while(accept_step).count();
    let rest = bytes[length..].iter().take_while(|byte| accept(**byte));
    length + rest.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_accepted_is_found_wherever_it_stands() {
        for length in 0..100 {
            let mut bytes = vec![b'a'; length];
            assert_eq!(length_of::<8>(&bytes, |byte| byte == b'a'), length);
            for at in 0..length {
                bytes[at] = b'b';
                assert_eq!(
                    length_of::<8>(&bytes, |byte| byte == b'a'),
                    at,
                    "of {length}"
                );
                // A later one changes nothing.
                bytes[length - 1] = b'b';
                assert_eq!(
                    length_of::<8>(&bytes, |byte| byte == b'a'),
                    at,
                    "of {length}"
                );
                bytes.fill(b'a');
            }
        }
    }
}
