//! A fair division of a budget of bytes.

/// Divides `total` among parts of the given sizes. Bytes that a small part does not need are
/// divided equally among the larger ones.
pub(crate) fn shares(wanted: &[usize], total: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&part| wanted[part]);
    let (mut left, mut shares) = (total, vec![0; wanted.len()]);
    for (given, &part) in order.iter().enumerate() {
        shares[part] = wanted[part].min(left / (wanted.len() - given));
        left -= shares[part];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_small_parts_do_not_need_go_to_large_ones() {
        assert_eq!(shares(&[10, 1000, 20, 500], 330), [10, 150, 20, 150]);
        assert_eq!(shares(&[10, 1000], 2000), [10, 1000]);
        assert_eq!(shares(&[7, 7, 7], 9), [3, 3, 3]);
        assert!(shares(&[], 9).is_empty());
    }
}
