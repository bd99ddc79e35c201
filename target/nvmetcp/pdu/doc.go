// Package pdu is the bytes of NVMe/TCP (NVMe TCP Transport 1.0, 3.6): one struct
// per PDU header. Data, padding and digests are the connection's.
//
//	 0      1      2      3      4          8
//	+------+------+------+------+----------+-----------------+------+---------+------+--------+------+
//	| type | flags| HLEN | PDO  | PLEN     | rest of header  | HDGST| padding | data |        | DDGST|
//	+------+------+------+------+----------+-----------------+------+---------+------+--------+------+
//	|<------------- HLEN ---------------------------------->|
//	|<---------------------- PDO, where there is data --------------------->|
//	|<---------------------- PLEN ------------------------------------------------------------------>|
package pdu
