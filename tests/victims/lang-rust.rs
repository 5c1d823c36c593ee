// SPDX-License-Identifier: MIT
//
// Victim: vectors, boxes and strings in Rust. Says which of them the shim took.
fn say<T>(name: &str, pointer: *const T) {
    if (0x2100_0000_0000..0x2900_0000_0000).contains(&(pointer as usize)) {
        print!(" {}", name);
    }
}

#[no_mangle]
#[inline(never)]
pub fn make_field(count: usize) -> Vec<f64> {
    vec![1.5; count]
}

#[no_mangle]
#[inline(never)]
pub fn make_zeros(count: usize) -> Vec<u8> {
    vec![0; count]
}

#[no_mangle]
#[inline(never)]
pub fn make_grown(count: u64) -> Vec<u64> {
    let mut grown = Vec::new();
    for i in 0..count {
        grown.push(i);
    }
    grown
}

#[no_mangle]
#[inline(never)]
pub fn make_boxed(value: u64) -> Box<[u64; 600]> {
    Box::new([value; 600])
}

fn main() {
    let (field, zeros, grown, boxed) = (make_field(1000), make_zeros(5000), make_grown(1000), make_boxed(7));
    print!("taken:");
    say("field", field.as_ptr());
    say("zeros", zeros.as_ptr());
    say("grown", grown.as_ptr());
    say("boxed", boxed.as_ptr());
    println!();
    println!("{}", field.iter().sum::<f64>() as u64 + grown.iter().sum::<u64>() + zeros.len() as u64 + boxed[599]);
}
