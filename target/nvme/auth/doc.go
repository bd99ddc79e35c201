// Package auth is DH-HMAC-CHAP, the authentication of NVMe over Fabrics (NVM
// Express Base Specification 2.0, section 8.13.5), for both sides: what the
// messages look like, who says what when, and what follows. It is pure: random
// bytes come from a reader that the caller gives.
//
//	host                                    controller
//	AUTH_Negotiate      hashes, groups  ->
//	               <-  hash, group, S1, C1, g^x        DH-HMAC-CHAP_Challenge
//	DH-HMAC-CHAP_Reply  R1, S2, C2, g^y ->
//	               <-  R2                              DH-HMAC-CHAP_Success1
//	DH-HMAC-CHAP_Success2               ->  only if the host asked for R2
//
// The controller's messages are fetched by the host with Authentication Receive,
// so each step is a command of the host. On a failure there is an AUTH_Failure1
// to fetch, or the host sends AUTH_Failure2; in both cases the connection
// ends. A host may begin anew on a queue that is authenticated: until that has
// failed, the queue stays so.
//
// Secure channel concatenation is refused.
package auth
