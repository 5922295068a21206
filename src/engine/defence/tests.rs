use super::*;
use crate::table::Settings;

fn dropped(defences: &mut Defences, attempts: usize) -> Vec<bool> {
    (0..attempts).map(|_| defences.check_attempt().is_err()).collect()
}

#[test]
fn drop_packet_takes_the_first_and_then_every_nth() {
    let mut defences = Defences::default();
    let mut settings = Settings { drop_packet: 3, am_droprate: 3, ..Settings::default() };
    defences.judge(&mut settings, 0);
    assert_eq!(dropped(&mut defences, 7), [true, false, false, true, false, false, true]);
    // A second later the rate is taken over again, and the counter goes on.
    defences.judge(&mut settings, 0);
    assert_eq!(dropped(&mut defences, 2), [false, false]);
    settings.am_droprate = -1;
    defences.judge(&mut settings, 0);
    assert_eq!(dropped(&mut defences, 3), [true, true, true]);
    settings.drop_packet = 0;
    defences.judge(&mut settings, 0);
    assert_eq!(dropped(&mut defences, 2), [false, false]);
}

#[test]
fn automatic_modes_follow_the_room_in_the_table() {
    let mut defences = Defences::default();
    let mut settings =
        Settings { drop_entry: 1, drop_packet: 1, secure_tcp: 1, amemthresh: 100, ..Settings::default() };
    let modes = |settings: &Settings| [settings.drop_entry, settings.drop_packet, settings.secure_tcp];
    defences.judge(&mut settings, 100 * PLACES_IN_PAGE);
    assert_eq!((modes(&settings), defences.drop_entries, defences.tcp), ([1; 3], false, tcp::Table::Normal));
    assert_eq!(dropped(&mut defences, 2), [false, false]);
    // 75 of 100 pages free: one attempt of 100 / 25 is dropped, counted anew each second.
    defences.judge(&mut settings, 75 * PLACES_IN_PAGE);
    assert_eq!((modes(&settings), defences.drop_entries, defences.tcp), ([2; 3], true, tcp::Table::Secure));
    assert_eq!(dropped(&mut defences, 5), [false, false, false, true, false]);
    defences.judge(&mut settings, 75 * PLACES_IN_PAGE);
    assert_eq!(dropped(&mut defences, 4), [false, false, false, true]);
    defences.judge(&mut settings, 101 * PLACES_IN_PAGE);
    assert_eq!((modes(&settings), defences.drop_entries, defences.tcp), ([1; 3], false, tcp::Table::Normal));
    settings.amemthresh = -7;
    defences.judge(&mut settings, 0);
    assert_eq!(modes(&settings), [1; 3], "a negative threshold is none");
}

#[test]
fn always_and_never_do_not_ask_for_memory() {
    let mut defences = Defences::default();
    let mut settings = Settings { drop_entry: 3, secure_tcp: 3, amemthresh: 0, ..Settings::default() };
    defences.judge(&mut settings, 1 << 20);
    assert_eq!((settings.drop_entry, defences.drop_entries, defences.tcp), (3, true, tcp::Table::Secure));
    let mut settings = Settings { amemthresh: i32::MAX, ..Settings::default() };
    defences.judge(&mut settings, 0);
    assert_eq!((defences.drop_entries, defences.tcp), (false, tcp::Table::Normal));
}
