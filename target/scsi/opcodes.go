package scsi

import "encoding/binary"

// timeoutsDescriptor is a command timeouts descriptor that states none
// (SPC-4 6.35.4): the hosts' own defaults suit.
var timeoutsDescriptor = []byte{0, 0x0A, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// reportOpcodes is REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
func reportOpcodes(t *Task) {
	const rctd = 0x80
	timeouts := t.CDB[2]&rctd != 0
	if t.CDB[2]&0x07 == 0 {
		t.reply(allCommands(timeouts), t.allocation())
		return
	}
	c, ok := requested(t.CDB[2]&0x07, t.CDB[3], binary.BigEndian.Uint16(t.CDB[4:]))
	if !ok {
		t.check(badField(2))
		return
	}
	t.reply(oneCommand(c, timeouts), t.allocation())
}

// allCommands is the all_commands parameter data, 8 or 20 bytes a command.
func allCommands(timeouts bool) []byte {
	const servactv, ctdp = 0x01, 0x02
	list := make([]byte, 4)
	for _, c := range commands {
		d := make([]byte, 8)
		d[0] = c.code()
		binary.BigEndian.PutUint16(d[2:], uint16(c.serviceAction()))
		if c.action {
			d[5] |= servactv
		}
		binary.BigEndian.PutUint16(d[6:], uint16(len(c.usage)))
		if timeouts {
			d[5] |= ctdp
			d = append(d, timeoutsDescriptor...)
		}
		list = append(list, d...)
	}
	binary.BigEndian.PutUint32(list, uint32(len(list)-4))
	return list
}

// requested finds the command that REPORTING OPTIONS 1, 2 or 3 ask for, nil if
// there is none. It is not ok to ask by code alone where there are service
// actions, by service action where there are none, or by another option.
func requested(options, code byte, action uint16) (c *command, ok bool) {
	served := actions[code] != nil
	switch options {
	case 1:
		return opcodes[code], !served
	case 2:
		return findAction(code, action), served || opcodes[code] == nil
	case 3:
		if served {
			return findAction(code, action), true
		}
		if action == 0 {
			return opcodes[code], true
		}
		return nil, true
	}
	return nil, false
}

func findAction(code byte, action uint16) *command {
	if a := actions[code]; a != nil && action < uint16(len(a)) {
		return a[action]
	}
	return nil
}

// oneCommand is the one_command parameter data. Without a command it says "not
// supported".
func oneCommand(c *command, timeouts bool) []byte {
	const supported, notSupported, ctdp = 3, 1, 0x80
	if c == nil {
		return []byte{0, notSupported, 0, 0}
	}
	list := []byte{0, supported, 0, byte(len(c.usage))}
	list = append(list, c.usage...)
	if timeouts {
		list[1] |= ctdp
		list = append(list, timeoutsDescriptor...)
	}
	return list
}

// reportFunctions is REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36):
// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET.
func reportFunctions(t *Task) {
	const functions, repd = 0x80 | 0x40 | 0x10 | 0x08 | 0x02, 0x80
	list := []byte{functions, 0, 0, 0}
	if t.CDB[2]&repd != 0 {
		list = append(list, make([]byte, 12)...)
		list[3] = 12
	}
	t.reply(list, t.allocation())
}
