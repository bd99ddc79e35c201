//go:build power

package power

import (
	"testing"

	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/machines"
)

func TestMain(m *testing.M) { clusters.Main(m, machines.Prepare) }
