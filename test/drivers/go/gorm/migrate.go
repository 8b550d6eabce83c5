package main

import (
	"fmt"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	. "tenantry.test/drivers/check"
)

type Transaction struct {
	ID        uint    `gorm:"primaryKey"`
	AccountID uint    `gorm:"not null;index"`
	Account   Account `gorm:"constraint:OnDelete:CASCADE"`
	Amount    float64 `gorm:"type:decimal(15,2);not null"`
}

// What the second release of the application knows of an account.
type AccountWithPlan struct {
	Account
	Plan string `gorm:"size:20;not null;default:free;index"`
}

func (AccountWithPlan) TableName() string { return "accounts" }

// AutoMigrate against the workspace, as the application's first release does it and as its second.
func migrate(step string) {
	db := Got(gorm.Open(postgres.Open(WorkspaceURL()), &gorm.Config{}))
	if step == "1" {
		Must(db.AutoMigrate(&Account{}, &Transaction{}))
	} else {
		Must(db.AutoMigrate(&AccountWithPlan{}, &Transaction{}))
	}
	fmt.Println("version " + Version("gorm.io/gorm"))
}
