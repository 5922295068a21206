//! stub
#[derive(Debug)]
pub struct Reassembler;
impl Reassembler {
    pub fn new(_: ()) -> Reassembler {
        Reassembler
    }
}
