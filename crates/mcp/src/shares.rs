//! Shares of a budget of bytes.

/// Divides `total` among parts that want this many bytes each. What a small part does not need goes to the others, which
/// get the same.
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
    fn what_small_parts_leave_goes_to_the_large_ones() {
        assert_eq!(shares(&[10, 1000, 20, 500], 330), [10, 150, 20, 150]);
        assert_eq!(shares(&[10, 1000], 2000), [10, 1000]);
        assert_eq!(shares(&[7, 7, 7], 9), [3, 3, 3]);
        assert!(shares(&[], 9).is_empty());
    }
}
