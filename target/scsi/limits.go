package scsi

// The limits of VPD page B0h, each enforced by the command table.
const (
	maxTransferBytes     = 4 << 20   // READ, WRITE, VERIFY, ORWRITE
	maxTransferBlocks    = 2048      // at least, of whatever size: hosts count in blocks
	optimalTransferBytes = 1 << 20   //
	maxSameBytes         = 16 << 20  // WRITE SAME: a block repeated so often is written in good time
	maxUnmapBytes        = 512 << 20 // UNMAP, over all block descriptors
	maxUnmapDescriptors  = 256       //
	maxCompareBlocks     = 128       // COMPARE AND WRITE

	discardPieceBytes = 64 << 20  // one Unmap or Zero operation of a chain
	patternPieceBytes = 256 << 10 // one Write or Verify operation of a repeated block, and one step of ORWRITE
)

// The same in logical blocks of a size.

func maxTransfer(blockSize uint64) uint64 { return max(maxTransferBytes/blockSize, maxTransferBlocks) }
func maxSame(blockSize uint64) uint64     { return maxSameBytes / blockSize }
func maxUnmap(blockSize uint64) uint64    { return maxUnmapBytes / blockSize }
func maxCompare(uint64) uint64            { return maxCompareBlocks }
