"""AVE: 150 videos of DIEM and Coutrot 1 and 2, in three categories."""
