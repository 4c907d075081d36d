module nylonring.example/peer

go 1.22
