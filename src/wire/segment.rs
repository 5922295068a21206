//! s
pub fn complete(_p: &mut [u8], _o: &super::Offload, _t: usize) -> Result<(), ()> {
    Ok(())
}
