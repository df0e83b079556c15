use proptest::prelude::*;

use super::super::tests::{calendar, utc_ms};
use super::*;

/// The names of a line's recipient, separated by spaces; empty if it is no delivery.
fn users(line: &str) -> String {
    match parse_line(line) {
        Ok(Some(delivery)) => delivery.users.join(" "),
        Ok(None) => String::new(),
        Err(why) => why.to_owned(),
    }
}

/// One table of real lines, so long.
#[test]
fn deliveries_of_every_server_are_parsed() {
    for (line, expected) in [
        // Postfix: LMTP to Dovecot over a socket and over TCP.
        (
            "postfix/lmtp[812]: 6BEA81CDC0AB: to=<alice@example.org>, relay=mx.example.org[private/dovecot-lmtp], delay=0.03, delays=0.02/0/0/0.01, dsn=2.0.0, status=sent (250 2.0.0 <alice@example.org> CVN5Bcsl9FR9ZQAAA15QOA Saved)",
            "alice@example.org",
        ),
        (
            "postfix-in/lmtp[812]: 4fXkWQ0dBgz1: to=<alice@example.org>, orig_to=<info@example.org>, relay=10.0.0.5[10.0.0.5]:24, conn_use=2, delay=0.1, delays=0.04/0/0/0.06, dsn=2.0.0, status=sent (250 2.0.0 <alice@example.org> ifvE Saved)",
            "alice@example.org",
        ),
        // Postfix: its own agents.
        (
            "postfix/virtual[13217]: 51DC9163323: to=<bob@example.org>, relay=virtual, delay=0.12, delays=0.11/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)",
            "bob@example.org",
        ),
        (
            "postfix/local[16782]: 95EC9422E3: to=<carol@mx.example.org>, orig_to=<root>, relay=local, delay=0.06, delays=0.02/0.02/0/0.02, dsn=2.0.0, status=sent (delivered to mailbox)",
            "carol@mx.example.org carol",
        ),
        (
            "postfix/local[5949]: 71CC9E2D9F: to=<carol@mx>, relay=local, delay=0.08, delays=0.05/0.01/0/0.02, dsn=2.0.0, status=sent (delivered to command: procmail -a \"$EXTENSION\")",
            "carol@mx carol",
        ),
        // As Postfix 3.7 logs them.
        (
            "postfix/local[205]: 374D4302: to=<carol+x@mx.example.org>, orig_to=<carol+x>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to mailbox)",
            "carol+x@mx.example.org carol@mx.example.org carol",
        ),
        (
            "postfix/local[205]: 2851C2FB: to=<carol@mx.example.org>, orig_to=<list>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)",
            "carol@mx.example.org carol",
        ),
        (
            "postfix/lmtp[183]: EC04C2AB: to=<alice+tag@lmtp.example>, relay=mx.example.org[private/dovecot-lmtp], delay=0.11, delays=0.02/0.03/0.06/0, dsn=2.0.0, status=sent (250 2.0.0 <alice+tag@lmtp.example> QIRvA9M2DWu8AAAAg+zDdQ Saved)",
            "alice+tag@lmtp.example alice@lmtp.example",
        ),
        (
            "postfix/lmtp[179]: 4AC2B311: to=<bob@lmtp.example>, relay=mx.example.org[private/dovecot-lmtp], delay=0.01, delays=0/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 <bob@lmtp.example> mDxkEtM2DWu8AAAAg+zDdQ:R2 Saved)",
            "bob@lmtp.example",
        ),
        (
            "postfix/lmtp[263]: 7EF29327: to=<carol@mx.example.org>, orig_to=<carol>, relay=mx.example.org[private/dovecot-lmtp], delay=1.9, delays=1.8/0.01/0.01/0, dsn=2.0.0, status=sent (250 2.0.0 <carol@mx.example.org> GM1uFdg2DWvBAAAAg+zDdQ Saved)",
            "carol@mx.example.org",
        ),
        (
            "postfix/virtual[184]: 0578A2B2: to=<bob@virt.example>, orig_to=<info@virt.example>, relay=virtual, delay=0.04, delays=0/0.04/0/0, dsn=2.0.0, status=sent (delivered to maildir)",
            "bob@virt.example",
        ),
        (
            "postfix/virtual[196]: 10F0E2DD: to=<Ünal@virt.example>, relay=virtual, delay=0.01, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)",
            "Ünal@virt.example",
        ),
        (
            "postfix/lmtp[183]: 403E5307: to=<\"a b\"@lmtp.example>, relay=mx.example.org[private/dovecot-lmtp], delay=0.01, delays=0/0/0/0.01, dsn=5.1.1, status=bounced (host mx.example.org[private/dovecot-lmtp] said: 550 5.1.1 <\"a b\"@lmtp.example> User doesn't exist: a b@lmtp.example (in reply to RCPT TO command))",
            "",
        ),
        (
            "postfix/local[205]: 32E21300: to=<file@mx.example.org>, orig_to=<file>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to file: /tmp/x.mbox)",
            "",
        ),
        ("postfix/local[261]: 7EF29327: passing <carol@mx.example.org> to transport=lmtp", ""),
        (
            "postfix/pipe[6221]: 03EAC2E0EDD: to=<dave@example.org>, relay=dovecot, delay=5.5, delays=5.3/0.01/0/0.16, dsn=2.0.0, status=sent (delivered via dovecot service)",
            "dave@example.org",
        ),
        (
            "postfix/lmtp[812]: 6BEA81CDC0AB: to=<\"a>, b\"@example.org>, relay=mx[private/x], delay=0.03, delays=0/0/0/0, dsn=2.0.0, status=sent (250 ok)",
            "\"a>, b\"@example.org",
        ),
        // Postfix: sent elsewhere, not sent, handed to a filter, forwarded.
        (
            "postfix/smtp[812]: 6BEA81CDC0AB: to=<eve@example.net>, relay=mx.example.net[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
            "",
        ),
        (
            "postfix/lmtp[812]: 6BEA81CDC0AB: to=<alice@example.org>, relay=mx[private/dovecot-lmtp], delay=1, delays=0/0/0/1, dsn=4.2.2, status=deferred (host said: 452 4.2.2 status=sent)",
            "",
        ),
        (
            "postfix/lmtp[812]: 6BEA81CDC0AB: to=<alice@example.org>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 87F93D49DA)",
            "",
        ),
        (
            "postfix/local[16782]: 95EC9422E3: to=<info@mx>, relay=local, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (forwarded as 87F93D49DA)",
            "",
        ),
        ("postfix/lmtp[812]: 6BEA81CDC0AB: relay=x, status=sent (250 ok)", "a delivery without to=<…>"),
        (
            "postfix/lmtp[812]: 6BEA81CDC0AB: to=<alice, status=sent (250)",
            "a delivery without an end of to=<…>",
        ),
        ("postfix/lmtp[812]: 6BEA: to=<>, relay=x, status=sent (250)", "a delivery to an invalid user name"),
        // Dovecot 2.3 and 2.4.
        ("dovecot: lmtp(alice)<812><CVN5B>: msgid=<1@example.org>: saved mail to INBOX", "alice"),
        ("dovecot: lda(al ice@example.org)<812><CVN5B>: msgid=: saved mail to INBOX", "al ice@example.org"),
        (
            "dovecot: lmtp(alice)<812><CVN5B:2>: sieve: msgid=<1@example.org>: stored mail into mailbox 'INBOX'",
            "alice",
        ),
        (
            "dovecot: lda(alice)<812><CVN5B>: sieve: msgid=<1@x>: fileinto action: stored mail into mailbox 'INBOX'",
            "alice",
        ),
        ("dovecot[7]: lmtp(alice)<812><CVN5B>: msgid=<1@x>: saved mail to inbox (size=812)", "alice"),
        // As Dovecot 2.3.19 and its Sieve log them.
        (
            "dovecot: lmtp(bob@lmtp.example)<188><mDxkEtM2DWu8AAAAg+zDdQ:R2>: msgid=<1@mx.example.org>: saved mail to INBOX",
            "bob@lmtp.example",
        ),
        (
            "dovecot: lda(keep)<547><o7PZOU03DWsjAgAAg+zDdQ>: sieve: msgid=unspecified: stored mail into mailbox 'INBOX'",
            "keep",
        ),
        (
            "dovecot: lmtp(pipe)<124><0M3>: sieve: msgid=<1@x>: pipe action: piped message to program `sig'",
            "",
        ),
        (
            "dovecot: lmtp(disc)<124><AMy>: sieve: msgid=<1@x>: discard action: Marked message to be discarded if not explicitly delivered (discard action)",
            "",
        ),
        // Dovecot up to 2.2.
        (
            "dovecot: lmtp(812, alice@example.org): CVN5B: msgid=<1@x>: saved mail to INBOX",
            "alice@example.org",
        ),
        ("dovecot: lda(12, alice): msgid=<1@x>: saved mail to INBOX", "12, alice"),
        (
            "dovecot: lda(me@example.org): sieve: msgid=<1@x>: stored mail into mailbox 'INBOX'",
            "me@example.org",
        ),
        // Dovecot: other folders, errors, other processes.
        ("dovecot: lmtp(alice)<812><CVN5B>: msgid=<1@x>: saved mail to INBOX.Sent", ""),
        ("dovecot: lmtp(alice)<812><CVN5B>: msgid=<1@x>: saved mail to INBOX/Sent", ""),
        ("dovecot: lmtp(alice)<812><CVN5B>: msgid=<1@x>: saved mail to Junk", ""),
        ("dovecot: lmtp(alice)<812><CVN5B>: sieve: msgid=<1@x>: stored mail into mailbox 'Junk'", ""),
        ("dovecot: lmtp(alice)<812><CVN5B>: msgid=<1@x>: save failed to INBOX: Quota exceeded", ""),
        ("dovecot: imap(alice)<812><CVN5B>: msgid=<1@x>: saved mail to INBOX", ""),
        // The sender's text neither hides a delivery nor names another user.
        ("dovecot: lmtp(alice)<1><s>: msgid=<1@x>: saved mail to Junk: x>: saved mail to INBOX", "alice"),
        ("dovecot: lmtp(alice)<1><s>: msgid=lmtp(bob)<1><s>: saved mail to INBOX", "alice"),
        // Courier.
        (
            "courierlocal: id=0038C081.4D026173.000051A4,from=<root@x>,addr=<alice@example.org>,size=329,success: Message delivered.",
            "alice@example.org alice",
        ),
        (
            "courierlocal: id=0000000000000443.000000006B0D3778.0000008F,from=<s@example.net>,addr=<dave@mx.example.org>,size=340,success: Message delivered.",
            "dave@mx.example.org dave",
        ),
        (
            "courierd: started,id=000000000000044C.000000006B0D3778.00000099,from=<s@example.net>,module=local,host=dave!!1002!1002!/home/dave!!,addr=<dave>",
            "",
        ),
        ("courierlocal: id=1,from=<,addr=<eve>,>,addr=<alice>,status: success", "alice"),
        ("courierlocal: id=1,from=<a>,addr=<alice>,size=329,status: deferred", ""),
        ("courieresmtp: id=1,from=<a>,addr=<eve@example.net>,size=329,success: delivered", ""),
        ("courierlocal: id=1,size=329,success: Message delivered.", "a delivery without addr=<…>"),
        // Something else.
        ("amavis[926]: (00926-14) ESMTP :10024 /x: <a@x> -> <alice@example.org>", ""),
        ("postfix/smtpd[1]: NOQUEUE: filter: helo=<lmtp(bob)<1>: saved mail to INBOX>", ""),
    ] {
        assert_eq!(users(&format!("2026-11-27T22:11:26.5+01:00 mx {line}")), expected, "{line}");
        assert_eq!(users(&format!("<22>Nov 27 22:11:26 mx {line}")), expected, "{line}");
        let (program, message) = line.split_once(": ").unwrap();
        let of_journal = parse_message(program.split('[').next().unwrap(), message);
        let of_journal =
            of_journal.map(|delivery| delivery.map_or(String::new(), |found| found.users.join(" ")));
        assert_eq!(of_journal.unwrap_or_else(str::to_owned), expected, "{line}");
    }
}

#[test]
fn deliveries_of_exim_are_parsed() {
    for (line, expected) in [
        ("1vOabc-0005MB-00 => marv <marv@example.org> R=localuser T=local_delivery", "marv marv@example.org"),
        (
            "1vOabc-00000000Dk1-2abc => alice <alice@example.org> F=<bob@example.net> P=<bob@example.net> R=local_user T=maildir_home S=1543 QT=0.4s DT=0s",
            "alice alice@example.org",
        ),
        (
            "+0100 [812] 1vOabc-0005MB-00 -> alice R=virtual_user T=dovecot_virtual_delivery C=\"250 2.0.0 <alice> x Saved\"",
            "alice",
        ),
        (
            "1vOabc-0005MB-00 => alice (staff@example.org) <info@example.org> R=local_user T=mail_spool",
            "alice staff@example.org info@example.org alice@example.org",
        ),
        (
            "1vOabc-0005MB-00 => /home/al/Maildir/ (alice@example.org) <alice@example.org> R=userforward T=address_directory",
            "alice@example.org alice",
        ),
        (
            "1vOabc-0005MB-00 => |/usr/bin/procmail (alice@example.org) <info@example.org> R=x T=address_pipe",
            "alice@example.org info@example.org info",
        ),
        (
            "1vOabc-0005MB-00 => alice@example.org R=dovecot T=dovecot_lmtp H=10.0.0.5 [10.0.0.5] C=\"250 Saved\"",
            "alice@example.org",
        ),
        // As Exim 4.96 logs them.
        (
            "1xXwyZ-00001U-14 => alice <list@mx.example.org> R=lm T=dovecot_lmtp C=\"250 2.0.0 <alice@lmtp.example> YpJWFhs3DWtjAAAAg+zDdQ Saved\"",
            "alice list@mx.example.org alice@lmtp.example alice@mx.example.org",
        ),
        (
            "1xXwyZ-00001r-1S => alice+tag <alice+tag@lmtp.example> R=lm T=dovecot_lmtp C=\"250 2.0.0 <alice+tag@lmtp.example> QDV+Gxs3DWtjAAAAg+zDdQ Saved\"",
            "alice+tag alice+tag@lmtp.example alice alice@lmtp.example",
        ),
        (
            "1xXwyZ-00002P-1o -> alice@tcp.example R=tc T=lmtp_tcp H=127.0.0.1 [127.0.0.1] K C=\"250 2.0.0 <alice@tcp.example> ANILIhs3DWtjAAAAg+zDdQ:R2 Saved\"",
            "alice@tcp.example",
        ),
        (
            "[177] 1xXwyZ-00002p-24 => bob@tcp.example F=<s@example.net> P=<s@example.net> R=tc T=lmtp_tcp S=304 H=127.0.0.1 [127.0.0.1]:2400 I=[127.0.0.1]:56630 L K C=\"250 2.0.0 <bob@tcp.example> ePvOJhs3DWtjAAAAg+zDdQ Saved\" QT=0.011s DT=0.002s",
            "bob@tcp.example",
        ),
        (
            "+0000 [198] 1xXwzD-00003A-2C => carol <info@mx.example.org> R=local_user T=maildir_home S=344 QT=0.008s DT=0.001s",
            "carol info@mx.example.org carol@mx.example.org",
        ),
        (
            "1xXwzD-00002B-1U => carol <carol+x@mx.example.org> R=local_user T=mail_spool",
            "carol carol+x@mx.example.org carol@mx.example.org",
        ),
        ("1xXwzD-000023-1N => erin <erin@pipe.example> R=pi T=dovecot_lda", "erin erin@pipe.example"),
        (
            "+0000 [220] 1xXwzD-00003W-2R => /home/carol/M/ <carol@mx.example.org> R=fwdfile T=address_directory S=298 QT=0.009s DT=0.001s",
            "carol@mx.example.org carol",
        ),
        (
            "+0000 [247] 1xXwzD-00003x-2h => >s@example.net <carol@mx.example.org> R=fwdfile T=address_reply S=0 QT=0.030s DT=0.022s",
            "",
        ),
        // Elsewhere.
        (
            "1vOabc-0005MB-00 => eve@example.net R=dnslookup T=remote_smtp H=mx.example.net [192.0.2.7] C=\"250 ok\"",
            "",
        ),
        ("1vOabc-0005MB-00 => :blackhole: <x@example.org> R=system_aliases", ""),
        ("1vOabc-0005MB-00 => /dev/null <x@example.org> R=userforward T=**bypassed**", ""),
        ("1vOabc-0005MB-00 => >bob@example.net <alice@example.org> R=userforward T=address_reply", ""),
        ("1vOabc-0005MB-00 <= bob@example.net H=mx [192.0.2.7] P=esmtp S=812 T=\"a => b T=c\"", ""),
        ("1vOabc-0005MB-00 == alice@example.org R=local_user T=maildir_home defer (-1)", ""),
        ("1vOabc-0005MB-00 => /x R=y T=address_file", "a delivery without a recipient"),
        ("an unrelated line => alice R=x T=y", ""),
    ] {
        assert_eq!(users(&format!("2026-11-27 22:11:26 {line}")), expected, "{line}");
        assert_eq!(
            users(&format!("Nov 27 22:11:26 mx exim[812]: 2026-11-27 22:11:26 {line}")),
            expected,
            "{line}"
        );
    }
}

#[test]
fn own_log_files_and_every_time_are_parsed() {
    let delivered = "lmtp(al ice)<812><CVN5B>: Info: msgid=<1@x>: saved mail to INBOX";
    for (start, known) in [
        ("Nov 27 22:11:26 ", false),
        ("2026-11-27 22:11:26 ", false),
        ("dovecot: Nov 27 22:11:26 ", false),
        ("2026-11-27T22:11:26Z ", true),
        ("<22>1 2026-11-27T22:11:26Z mx dovecot 812 - - ", true),
    ] {
        let delivery = parse_line(&format!("{start}{delivered}")).unwrap().unwrap();
        assert_eq!(delivery.users, ["al ice"], "{start}");
        assert_eq!(delivery.resolve(&mut calendar()), Some(utc_ms("2026-11-27T22:11:26Z")), "{start}");
        assert_eq!(delivery.at_ms().is_some(), known, "{start}");
    }
    assert_eq!(parse_line(delivered), Ok(None), "no time");
    let by_exim = "2026-11-30 08:43:47.665 +0000 [192] 1xXwzD-000034-27 => carol <carol@mx.example.org> R=local_user T=maildir_home S=345 QT=0.008s DT=0.001s";
    assert_eq!(users(by_exim), "carol carol@mx.example.org");
}

#[test]
fn a_name_that_is_too_long_is_a_problem() {
    let line =
        format!("Nov 27 22:11:26 mx dovecot: lmtp({})<1><s>: msgid=: saved mail to INBOX", "a".repeat(600));
    assert_eq!(users(&line), "a delivery to an invalid user name");
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "Nov 27 22:11:26 ",
            "2026-11-27T22:11:26Z ",
            "2026-11-27 22:11:26 ",
            "mx ",
            "dovecot: ",
            "lmtp(",
            "lda(",
            "812, ",
            "alice",
            ")<",
            "): ",
            ": saved mail to ",
            ": stored mail into mailbox '",
            "INBOX",
            "postfix/lmtp[1]: ",
            "ABC: to=<",
            ">, relay=",
            ">, orig_to=<",
            ", status=sent",
            " (",
            "courierlocal: ",
            ",addr=<",
            ">,",
            ",success: ",
            "exim: ",
            "1vOabc-0005MB-00 ",
            "=> ",
            "-> ",
            " <",
            ">",
            ")",
            " R=x",
            " T=y",
            " H=z",
            " ",
            "é",
            "\0",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_line_is_parsed_without_a_panic(line in pieces()) {
        if let Ok(Some(delivery)) = parse_line(&line) {
            prop_assert!(!delivery.users.is_empty() && delivery.users.len() <= MAX_NAMES);
            prop_assert!(delivery.users.iter().all(|user| user_name(user).is_some()));
            let _ = (delivery.at_ms(), delivery.resolve(&mut calendar()));
        }
        let _ = parse_message("dovecot", &line);
        let _ = parse_message("exim", &line);
    }
}
