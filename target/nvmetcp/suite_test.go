package nvmetcp

import (
	"sync"
	"testing"

	"ashlar/target"
	"ashlar/target/nvme"
	"ashlar/target/targettest"
	"ashlar/target/targettest/nvmehost"
)

// carried is a Device whose operations go through a host and a server wherever
// NVMe has a command for them. Those that are about whose nexus it is (a
// reservation, another host's operation) reach the device itself.
type carried struct {
	*targettest.Memory
	r    *rig
	host *nvmehost.Controller
	away sync.WaitGroup // operations that the host has
}

// Fence is the device's, once the host has no operation of before: its nexus is
// another than the suite's.
func (c *carried) Fence(scope target.Scope, nexus target.Nexus, done func(error)) {
	go func() {
		c.away.Wait()
		c.Memory.Fence(scope, nexus, done)
	}()
}

// results are the statuses of a device by those of NVMe.
var results = map[nvme.Status]target.Status{
	nvme.Success: target.OK, nvme.LBAOutOfRange: target.OutOfRange, nvme.CompareFailure: target.Miscompare,
	nvme.Interrupted: target.Aborted, nvme.InternalPathError: target.Busy,
}

func (c *carried) Submit(op *target.Op) {
	n := uint64(op.Blocks) * 512
	if s := c.Reservations(); s != nil || n > nvme.MaxTransfer || op.Blocks == 0 && op.Kind != target.Flush {
		c.Memory.Submit(op)
		return
	}
	ranged := func(code nvme.Opcode, control uint16) *nvmehost.Command {
		return nvmehost.Ranged(code, 1, op.LBA, op.Blocks, control)
	}
	var all []*nvmehost.Command
	switch op.Kind {
	case target.Read:
		all = append(all, ranged(nvme.Read, 0))
		all[0].In = op.Data[:n]
	case target.Write:
		all = append(all, ranged(nvme.Write, 0))
		all[0].Out = op.Data[:n]
	case target.Zero:
		all = append(all, ranged(nvme.WriteZeroes, 0))
	case target.Unmap:
		all = append(all, ranged(nvme.WriteZeroes, 1<<9))
	case target.Flush:
		all = append(all, nvmehost.New(nvme.Flush, 1))
	case target.Verify:
		if op.Data != nil {
			c.Memory.Submit(op) // NVMe does not tell where the difference is
			return
		}
		all = append(all, ranged(nvme.Verify, 0))
	default:
		c.Memory.Submit(op)
		return
	}
	c.host.IO[int(op.LBA%uint64(len(c.host.IO)))].Start(all...)
	c.away.Add(1)
	go func() {
		defer c.away.Done()
		if err := all[0].Wait(c.r.ctx); err != nil && all[0].Status == nvme.Success {
			c.r.Errorf("%v: %v", op.Kind, err)
		}
		status, known := results[all[0].Status.Code()]
		if !known {
			c.r.Errorf("%v: %v", op.Kind, all[0].Status)
		}
		op.Status = status
		op.Done(op)
	}()
}

func TestADeviceBehindNVMeIsADevice(t *testing.T) {
	targettest.Suite(t, func() target.Device {
		memory := targettest.NewMemory(targettest.Options{})
		r := newRigOn(t, memory, nil)
		// A fence of the suite is about its own nexuses: it is told through the device.
		return &carried{Memory: memory, r: r, host: r.host(nvmehost.Options{Queues: 2})}
	})
}
