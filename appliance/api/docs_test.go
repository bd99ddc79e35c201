package api_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"ashlar/appliance/api"
	"ashlar/node/cluster"
)

// TestTheTableOfRolesIsThatOfTheCode, row by row.
func TestTheTableOfRolesIsThatOfTheCode(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []cluster.Role{cluster.Viewer, cluster.Operator, cluster.Admin, cluster.TenantOf} {
		var may []string
		for _, id := range slices.Sorted(maps.Keys(api.Rights)) {
			if r := api.Rights[id]; r.Least == role || role == cluster.TenantOf && r.Tenant {
				may = append(may, "`"+id+"`")
			}
		}
		if row := fmt.Sprintf("\n| %s | %s |\n", role, strings.Join(may, " ")); !strings.Contains(string(page), row) {
			t.Errorf("docs/security.md lacks the row%s", row)
		}
	}
}
