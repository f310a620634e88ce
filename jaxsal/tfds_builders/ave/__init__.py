"""AVE: 150 videos of DIEM, Coutrot 1 and Coutrot 2, in three categories."""
