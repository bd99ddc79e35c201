package scsi

import "encoding/binary"

// logPage is one log page. Its parameters are in ascending order of their codes.
type logPage struct {
	page       byte
	parameters func(*Task) []logParameter // nil: the page is a list of pages
}

// logParameter is one parameter of a log page, in a binary list: PAGE CONTROL has
// no bearing on it.
type logParameter struct {
	code  uint16
	value []byte
}

// supportedLogs is the page that lists the others.
const supportedLogs = 0x00

// logPages are in ascending order. None is kept over a restart, and none can be set:
// they tell what this node saw of the unit as this target shows it.
var logPages = []logPage{
	{supportedLogs, nil},
	{0x19, statisticsLog},
	{0x2F, exceptionsLog},
}

// logSense is LOG SENSE (SPC-4 6.10).
func logSense(t *Task) {
	const ppc, sp, all = 0x02, 0x01, 0xFF
	page, subpage := t.CDB[2]&0x3F, t.CDB[3]
	pointer, allocation := binary.BigEndian.Uint16(t.CDB[5:]), uint64(binary.BigEndian.Uint16(t.CDB[7:]))
	switch {
	case t.CDB[1]&(ppc|sp) != 0:
		t.check(badField(1))
		return
	case page == supportedLogs && (subpage == 0 || subpage == all):
		if pointer != 0 {
			t.check(badField(5))
			return
		}
		t.reply(logList(subpage), allocation)
		return
	case subpage != 0:
		t.check(badField(3))
		return
	}
	for _, p := range logPages {
		if p.page != page {
			continue
		}
		list, found := p.list(t, pointer)
		if !found {
			t.check(badField(5))
			return
		}
		t.reply(list, allocation)
		return
	}
	t.check(badField(2))
}

// logList is the list of pages, or of pages with their subpages.
func logList(subpage byte) []byte {
	list := []byte{supportedLogs, subpage, 0, 0}
	for _, p := range logPages {
		list = append(list, p.page)
		if subpage == 0 {
			continue
		}
		if list = append(list, 0); p.page == supportedLogs {
			list = append(list, p.page, subpage)
		}
	}
	if subpage != 0 {
		list[0] |= 0x40 // SPF
	}
	binary.BigEndian.PutUint16(list[2:], uint16(len(list)-4))
	return list
}

// list is the page with the parameters from a code on, of which there has to be one.
func (p logPage) list(t *Task, from uint16) (list []byte, found bool) {
	const binaryList = 0x03
	list = []byte{p.page, 0, 0, 0}
	for _, v := range p.parameters(t) {
		if v.code < from {
			continue
		}
		list = binary.BigEndian.AppendUint16(list, v.code)
		list = append(append(list, binaryList, byte(len(v.value))), v.value...)
		found = true
	}
	binary.BigEndian.PutUint16(list[2:], uint16(len(list)-4))
	return list, found
}

// exceptionsLog is page 2Fh: no informational exception, temperature unknown.
func exceptionsLog(*Task) []logParameter {
	return []logParameter{{0x0000, []byte{0, 0, 0xFF, 0}}}
}
