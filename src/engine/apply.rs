//! Changes of the configuration, applied one by one.

use std::sync::Arc;

use crate::base::{Family, Tick};
use crate::table::{Change, DestinationKey, Errno, ServiceKey};

use super::Engine;
use super::conn::Budget;
use super::server::Crowd;

/// How long after a destination's deletion its connections are looked for.
const PURGE_DELAY: u64 = 4;

impl Engine {
    /// Makes one change.
    ///
    /// # Errors
    /// The errno that ip_vs would answer; then nothing has changed.
    pub fn apply(&mut self, now: Tick, change: &Change) -> Result<(), Errno> {
        self.begin_change(now, change)?;
        self.continue_change(now, &mut Budget(usize::MAX));
        Ok(())
    }

    /// Begins one change, as [`Engine::apply`] makes it, but leaves what takes long to
    /// [`Engine::continue_change`]: what a service that is deleted leaves behind. Packets may be
    /// handled before that is done; another change finishes it first.
    ///
    /// # Errors
    /// The errno that ip_vs would answer; then nothing has changed.
    pub fn begin_change(&mut self, now: Tick, change: &Change) -> Result<(), Errno> {
        self.continue_change(now, &mut Budget(usize::MAX));
        match change {
            Change::AddService { key, config } => self.services.add_service(*key, config.clone()),
            Change::EditService { key, config } => self.services.edit_service(*key, config.clone()),
            Change::DeleteService { key } => {
                self.services.begin_delete_service(key)?;
                self.purge_later(now);
                Ok(())
            }
            Change::Flush => {
                self.services.begin_flush();
                self.purge_later(now);
                Ok(())
            }
            Change::Zero { key } => self.services.zero(key.as_ref()),
            Change::AddDestination { service, key, .. } | Change::EditDestination { service, key, .. }
                if self.sync.runs()
                    && service.family() != Family::of(&key.address)
                    && self.services.by_key(service).is_some() =>
            {
                // Synchronisation knows no tunnels between families.
                Err(Errno::EINVAL)
            }
            Change::AddDestination { service, key, config } => {
                self.services.add_destination(&self.network, service, *key, *config)
            }
            Change::EditDestination { service, key, config } => self.services.edit_destination(service, *key, *config),
            Change::DeleteDestination { service, key } => {
                self.services.delete_destination(now, service, key)?;
                self.purge_later(now);
                Ok(())
            }
            Change::ForgetFormer { destinations } => {
                self.services.forget_former(destinations);
                Ok(())
            }
            Change::SetTimeouts { timeouts } => self.timeouts.update(*timeouts),
            Change::SetSetting { name, value } => {
                let before = self.defence_modes();
                self.settings.set(name, value)?;
                self.sync.configure(&self.settings);
                if self.defence_modes() != before {
                    self.judge_defences();
                }
                Ok(())
            }
            Change::AddMark { rule } => {
                self.marks.push(rule.clone());
                Ok(())
            }
            Change::DeleteMark { rule } => {
                let at = self.marks.iter().position(|known| known == rule).ok_or(Errno::ENOENT)?;
                self.marks.remove(at);
                Ok(())
            }
            Change::FlushMarks => {
                self.marks.clear();
                Ok(())
            }
            Change::StartDaemon { config, ports } => self.start_daemon(now, config, *ports),
            Change::StopDaemon { role } => self.stop_daemon(*role),
        }
    }

    /// Goes on with a change that was begun, a destination or service for each unit of the budget;
    /// whether there is more.
    pub fn continue_change(&mut self, now: Tick, budget: &mut Budget) -> bool {
        if self.services.is_clearing_out() {
            // Connections are looked for when all have left.
            self.purge_later(now);
        }
        self.services.clear_out(now, budget)
    }

    /// Has a destination's connections counted together with those that other engines have with it: its thresholds
    /// hold for all of them. Nothing where there is no such destination.
    pub fn join_crowd(&mut self, service: &ServiceKey, key: &DestinationKey, crowd: Arc<Crowd>) {
        self.services.join_crowd(service, key, crowd);
    }

    fn purge_later(&mut self, now: Tick) {
        if self.settings.expire_nodest_conn != 0 {
            self.purge_at = Some(now + PURGE_DELAY);
        }
    }
}
